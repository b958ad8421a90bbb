"""Import DGL, with the workarounds that the unmaintained library needs for current versions of torch.

The extra ``mml-graphs[dgl]`` pins 1.1.3, the last version that can be imported; later versions need parts
that torchdata has removed. Version 1.1.3 has wheels for Python 3.11, but not for later versions. It uses
``packaging`` without declaring it, and falls back to a copy in setuptools that no longer exists, so the extra
declares it. This module can be removed together with DGL.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import warnings
from functools import cache
from types import ModuleType

from mml_samples import optional_module


@cache
def import_dgl() -> ModuleType:
    """Return ``dgl``, imported on first use (which takes seconds).

    Raises
    ------
    ImportError
        If DGL is not installed, or not available for this version of Python. The message contains the install
        command.
    """
    requirement, purpose = "mml-graphs[dgl]", "the 'dgl' graph backend"
    if sys.modules.get("dgl") is None and importlib.util.find_spec("dgl") is None:
        raise ImportError(
            f"{purpose} needs dgl 1.1.3, which is not installed. It exists for Python 3.11 on Linux "
            f"(x86-64), macOS and Windows; this is Python {platform.python_version()} on {platform.system()} "
            f'({platform.machine()}). With Python 3.11: python -m pip install "{requirement}"'
        )
    # If DGLBACKEND is not set, DGL prints a notice and writes a file to the home folder.
    chosen = os.environ.get("DGLBACKEND")
    os.environ["DGLBACKEND"] = chosen or "pytorch"
    try:
        with warnings.catch_warnings():
            # Python warns of DGL's docstrings when it compiles them, once after each installation.
            warnings.filterwarnings("ignore", message="invalid escape sequence")
            return optional_module("dgl", requirement, purpose)
    finally:
        if chosen is None:
            del os.environ["DGLBACKEND"]
