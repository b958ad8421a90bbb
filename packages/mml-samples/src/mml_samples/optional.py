"""Import libraries that may not be installed or that are slow to import."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from types import ModuleType


@cache
def optional_module(name: str, requirement: str, purpose: str) -> ModuleType:
    """Import a module on first use.

    Parameters
    ----------
    name
        Dotted name of the module.
    requirement
        Requirement that installs the module with pip, for example ``mml-graphs[pyg]``.
    purpose
        Feature that needs the module. The error message begins with it.

    Returns
    -------
    ModuleType
        The module.

    Raises
    ------
    ImportError
        If the module cannot be imported. The message contains the install command.
    """
    try:
        with warnings.catch_warnings():
            # PyG 2.8 still calls torch.jit.script, which torch 2.15 deprecates. Users cannot change this.
            warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated")
            return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {name}, which cannot be imported ({error}). Install it with "
            f'python -m pip install "{requirement}"'
        ) from error
