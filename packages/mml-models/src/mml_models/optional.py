"""The one place that asks for other model libraries: on first use, because they take seconds to import."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def is_installed(library: str) -> bool:
    """Say whether a top-level module is there, without importing it."""
    return importlib.util.find_spec(library) is not None


def import_library(path: str, needed_by: str, extra: str = "") -> Any:
    """Import a module of a library that encoders are adapted from.

    Parameters
    ----------
    path
        Such as ``mace.modules``.
    needed_by
        Who needs it, for the message.
    extra
        The extra of mml-models that installs it; "" for what is always there.

    Raises
    ------
    ImportError
        Where the library is not installed; the message says how to install it.
    """
    library = path.split(".")[0]
    if not is_installed(library):
        package = f"mml-models[{extra}]" if extra else "mml-models"
        raise ImportError(f"{needed_by} needs {library}: pip install '{package}'")
    with quiet(), _same_environment():
        return importlib.import_module(path)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings while a library is imported or makes a model: they are about code of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _same_environment() -> Iterator[None]:
    """Take back what an import does to the environment variables.

    MACE sets TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD, so that every later `torch.load` that does not say otherwise
    would run what is pickled in a file.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
