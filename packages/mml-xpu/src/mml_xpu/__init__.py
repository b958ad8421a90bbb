"""Intel GPUs for Lightning: importing this registers accelerator `xpu` and strategy `single_xpu`.

`XPUAccelerator`, `SingleXPUStrategy` and `DDPXPUStrategy` belong to `pytorch_lightning` where it is
installed, else to `lightning.pytorch`; where both are, those of the latter are in `mml_xpu.for_lightning`.
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
