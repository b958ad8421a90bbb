"""The one place that imports parts which need a library that may be missing."""

from __future__ import annotations

import importlib
from types import ModuleType


def ase_calculator() -> ModuleType:
    """Return ``mml_tasks.ase_calculator``, which needs ASE.

    Raises
    ------
    ImportError
        If ASE is not installed; the message holds the install command.
    """
    try:
        return importlib.import_module("mml_tasks.ase_calculator")
    except ImportError as error:
        raise ImportError(
            f"an ASE calculator needs ase, which cannot be imported ({error}): "
            'python -m pip install "mml-tasks[ase]"'
        ) from error
