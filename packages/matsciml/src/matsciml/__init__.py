"""The Open MatSciML Toolkit: one package and one command for training on crystals and molecules.

Importing this package registers the accelerator and the strategies of mml-xpu and mml-distributed with
Lightning, now or as soon as Lightning is imported. It also calls :func:`mml_xpu.enable_auto`, so that
``Trainer(accelerator="xpu")`` and ``Trainer(accelerator="auto")`` select the strategy for Intel GPUs. This
replaces a private class of Lightning and changes nothing for other accelerators.
"""

import mml_distributed as _mml_distributed  # noqa: F401  registers ddp_with_mpi, ddp_with_xpu, ddp_with_ccl
import mml_xpu as _mml_xpu  # registers xpu, single_xpu and ddp_xpu

__version__ = "0.1.0"
__all__ = ["__version__"]

_mml_xpu.enable_auto()
