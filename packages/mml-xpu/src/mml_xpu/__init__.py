"""Intel GPUs for Lightning. Importing this package registers the accelerator `xpu` and its strategies.

The import is cheap: it imports neither torch nor Lightning. The names are registered as soon as Lightning is
imported. `XPUAccelerator`, `SingleXPUStrategy` and `DDPXPUStrategy` are built on `pytorch_lightning` if it is
installed, and on `lightning.pytorch` otherwise. If both are installed, the classes for `lightning.pytorch`
are in `mml_xpu.for_lightning`.
"""

from typing import TYPE_CHECKING

from mml_xpu._lightning import preferred_classes, register
from mml_xpu.selection import enable_auto

if TYPE_CHECKING:
    from mml_xpu.for_pytorch_lightning import DDPXPUStrategy, SingleXPUStrategy, XPUAccelerator

__all__ = [
    "DDPXPUStrategy",
    "SingleXPUStrategy",
    "XPUAccelerator",
    "__version__",
    "enable_auto",
    "register",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(preferred_classes(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register()
