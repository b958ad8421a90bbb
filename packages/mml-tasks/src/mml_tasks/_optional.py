"""Import the parts of this package that need an optional dependency."""

from __future__ import annotations

import importlib
from types import ModuleType


def ase_calculator() -> ModuleType:
    """Return the module ``mml_tasks.ase_calculator``, which requires ASE.

    Raises
    ------
    ImportError
        If ASE is not installed. The message contains the install command.
    """
    try:
        return importlib.import_module("mml_tasks.ase_calculator")
    except ImportError as error:
        raise ImportError(
            f"an ASE calculator needs ase, which cannot be imported ({error}). Install it: "
            'python -m pip install "mml-tasks[ase]"'
        ) from error
