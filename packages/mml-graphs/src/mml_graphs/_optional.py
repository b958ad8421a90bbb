"""The one place that imports libraries which may be missing or are costly to import."""

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
        What pip is to install where the module is missing, for example ``mml-graphs[pyg]``.
    purpose
        What the module is needed for; opens the error message.

    Returns
    -------
    ModuleType
        The module.

    Raises
    ------
    ImportError
        If it cannot be imported; the message holds the install command.
    """
    try:
        with warnings.catch_warnings():
            # PyG 2.8 still calls torch.jit.script, which torch 2.15 deprecates; users cannot help it.
            warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated")
            return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {name}, which cannot be imported ({error}): "
            f'python -m pip install "{requirement}"'
        ) from error


def pyg_data() -> ModuleType:
    """Return ``torch_geometric.data``, imported on first use (it takes seconds).

    Raises
    ------
    ImportError
        If PyG is not installed.
    """
    return optional_module("torch_geometric.data", "mml-graphs[pyg]", "the 'pyg' graph backend")
