"""The Open MatSciML Toolkit: one package and one command for training on crystals and molecules.

Importing it registers the accelerator and the strategies of mml-xpu and mml-distributed with Lightning.
"""

import mml_distributed as _mml_distributed  # noqa: F401  registers ddp_with_mpi, ddp_with_xpu, ddp_with_ccl
import mml_xpu as _mml_xpu  # noqa: F401  registers the xpu accelerator and single_xpu

__version__ = "0.1.0"
__all__ = ["__version__"]
