"""Intel GPUs for Lightning. Importing this package registers accelerator `xpu` and strategy `single_xpu`.

`XPUAccelerator`, `SingleXPUStrategy` and `DDPXPUStrategy` are built on `pytorch_lightning` if it is
installed, and on `lightning.pytorch` otherwise. If both are installed, the classes for `lightning.pytorch`
are in `mml_xpu.for_lightning`.
"""

from typing import TYPE_CHECKING

from mml_xpu._lightning import class_modules
from mml_xpu.registration import register

if TYPE_CHECKING:
    from mml_xpu.for_pytorch_lightning import DDPXPUStrategy, SingleXPUStrategy, XPUAccelerator
else:
    XPUAccelerator = class_modules()[0].XPUAccelerator
    DDPXPUStrategy = class_modules()[0].DDPXPUStrategy
    SingleXPUStrategy = class_modules()[0].SingleXPUStrategy

__all__ = ["DDPXPUStrategy", "SingleXPUStrategy", "XPUAccelerator", "__version__", "register"]

__version__ = "0.1.0"

register()
