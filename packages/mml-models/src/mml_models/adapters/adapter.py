"""Base class of the encoders that wrap models of other libraries."""

from __future__ import annotations

from typing import Any, ClassVar

from mml_models.encoder import GraphEncoder
from mml_models.optional import import_library


class Adapter(GraphEncoder):
    """Encoder that wraps a model of another library. The library is imported when an instance is created.

    Attributes
    ----------
    library
        Name of the top-level module of the library.
    extra
        The extra of mml-models that installs the library, or "" if mml-models itself depends on it.
    """

    library: ClassVar[str]
    extra: ClassVar[str] = ""

    @classmethod
    def import_module(cls, name: str) -> Any:
        """Import and return a module of the library, given its path within the library.

        Raises
        ------
        ImportError
            If the library is not installed. The message contains the install command.
        """
        return import_library(f"{cls.library}.{name}", cls.__name__, cls.extra)
