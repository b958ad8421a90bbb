"""Find the installed Lightnings, and register with each of them as soon as it is imported.

`pytorch_lightning` and `lightning` (as `lightning.pytorch`) have separate class hierarchies and separate
registries, so this package has classes for each of them, in `for_pytorch_lightning.py` and
`for_lightning.py`. Importing one of these two modules registers its classes. No other module of this package
checks which Lightnings are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

LIGHTNINGS = {"pytorch_lightning": "pytorch_lightning", "lightning": "lightning.pytorch"}
"""Mapping from top-level package to the module that contains the Trainer, preferred package first."""
PACKAGE = __name__.partition(".")[0]


def installed() -> tuple[str, ...]:
    """Return the top-level packages of the installed Lightnings, preferred one first.

    Raises
    ------
    ImportError
        If no Lightning is installed.
    """
    # A folder that happens to be called `lightning` has a spec without an origin.
    found = tuple(root for root in LIGHTNINGS if (spec := find_spec(root)) is not None and spec.origin)
    if not found:
        raise ImportError(
            f"{PACKAGE.replace('_', '-')} requires Lightning, which is not installed. "
            "Run: uv pip install pytorch-lightning"
        )
    return found


def preferred_classes() -> ModuleType:
    """Import the classes for the preferred Lightning, and therefore that Lightning."""
    return import_module(f"{PACKAGE}.for_{installed()[0]}")


def register() -> None:
    """Register the classes of this package with every Lightning, now or as soon as it is imported.

    This function does not import Lightning. Repeated calls have no effect. A name that another package has
    registered is left unchanged, with a warning.
    """
    for root, name in LIGHTNINGS.items():
        finder = _Finder(root)
        if finder not in sys.meta_path:
            sys.meta_path.insert(0, finder)
        # The check comes after the insertion, because another thread may import Lightning in between.
        if name in sys.modules:
            finder.register()


@dataclass(frozen=True)
class _Finder(MetaPathFinder):
    """Leaves the search for a Lightning to the other finders, and registers our classes after its import."""

    root: str

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the finders after this one find, with a loader that registers."""
        if fullname != LIGHTNINGS[self.root] or self not in sys.meta_path:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None

    def register(self) -> None:
        """Import our classes, which registers them."""
        import_module(f"{PACKAGE}.for_{self.root}")


class _Loader(Loader):
    """Another loader, followed by `register` of a finder."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> object:
        # For code that inspects the spec without importing the module.
        return getattr(self.__dict__["_loader"], name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Restore the module's own loader, execute the module, and register our classes."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.register()
