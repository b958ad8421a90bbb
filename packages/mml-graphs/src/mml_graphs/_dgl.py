"""The import of DGL, which nobody maintains any more: all that it needs to work on today's torch.

The extra ``mml-graphs[dgl]`` pins 1.1.3, the last version that imports: later ones need parts that torchdata
has removed. It has wheels for Python 3.11 and no later one. It uses ``packaging`` without declaring it and
falls back to a copy within setuptools that is gone; the extra declares it. All of this can go when DGL does.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from functools import cache
from types import ModuleType

from mml_graphs._optional import optional_module


@cache
def import_dgl() -> ModuleType:
    """Return ``dgl``, imported on first use (it takes seconds).

    Raises
    ------
    ImportError
        If it is not installed, or cannot be for this Python; the message holds the install command.
    """
    requirement, purpose = "mml-graphs[dgl]", "the 'dgl' graph backend"
    if sys.modules.get("dgl") is None and importlib.util.find_spec("dgl") is None:
        raise ImportError(
            f"{purpose} needs dgl 1.1.3, which is not installed. It exists for Python 3.11 on Linux "
            f"(x86-64), macOS and Windows; this is Python {platform.python_version()} on {platform.system()} "
            f'({platform.machine()}). With Python 3.11: python -m pip install "{requirement}"'
        )
    # Where nothing says which framework is meant, DGL prints a notice and writes a file in the home folder.
    chosen = os.environ.get("DGLBACKEND")
    os.environ["DGLBACKEND"] = chosen or "pytorch"
    try:
        return optional_module("dgl", requirement, purpose)
    finally:
        if chosen is None:
            del os.environ["DGLBACKEND"]
