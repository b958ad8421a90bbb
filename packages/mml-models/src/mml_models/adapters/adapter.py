"""What encoders around other libraries' models have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from mml_models.encoder import GraphEncoder
from mml_models.optional import import_library


class Adapter(GraphEncoder):
    """An encoder around a model of another library, which is imported when the first one is made.

    Attributes
    ----------
    library
        The module that must be there.
    extra
        The extra of mml-models that installs it; "" where it comes with mml-models.
    """

    library: ClassVar[str]
    extra: ClassVar[str] = ""

    @classmethod
    def import_module(cls, name: str) -> Any:
        """Import a module of the library.

        Raises
        ------
        ImportError
            Where the library is not installed; the message says how to install it.
        """
        return import_library(f"{cls.library}.{name}", cls.__name__, cls.extra)
