"""Which Lightnings are installed: `pytorch_lightning`, `lightning` (as `lightning.pytorch`), or both.

The two have separate class hierarchies and separate registries, so each gets classes of its own:
`for_pytorch_lightning.py` and `for_lightning.py`. Nothing else in this package asks what is installed.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

ROOTS = ("pytorch_lightning", "lightning")
"""Import names of the Lightnings, in the order in which they are preferred."""


def installed() -> tuple[str, ...]:
    """Import names of the Lightnings that are installed, preferred one first.

    Raises
    ------
    ImportError
        There is none.
    """
    # A directory that happens to be called `lightning` has a spec without an origin: it is not Lightning.
    found = tuple(root for root in ROOTS if (spec := find_spec(root)) is not None and spec.origin)
    if not found:
        raise ImportError("mml-distributed needs Lightning and found none: uv pip install pytorch-lightning")
    return found


def class_modules() -> list[ModuleType]:
    """Import our classes for every installed Lightning, preferred one first."""
    return [import_module(f"mml_distributed.for_{root}") for root in installed()]
