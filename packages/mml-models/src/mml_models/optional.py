"""Import optional model libraries on first use, because their import takes seconds."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mml_samples import optional_module


def is_installed(library: str) -> bool:
    """Return whether a top-level module is installed, without importing it."""
    return importlib.util.find_spec(library) is not None


def import_library(path: str, needed_by: str, extra: str = "") -> Any:
    """Import a module of a model library on behalf of an adapter.

    Parameters
    ----------
    path
        Dotted path of the module, such as ``mace.modules``.
    needed_by
        Name of the class that needs the library, for the error message.
    extra
        The extra of mml-models that installs the library, or "" if mml-models itself depends on it.

    Raises
    ------
    ImportError
        If the library is not installed. The message contains the install command.
    """
    with quiet(), _same_environment():
        return optional_module(path, f"mml-models[{extra}]" if extra else "mml-models", needed_by)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of a library about its own code, during its import or when it builds a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _same_environment() -> Iterator[None]:
    """Restore the environment variables that an import changes.

    MACE sets TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD. Every later `torch.load` without an explicit ``weights_only``
    would then execute the pickled code in a file.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
