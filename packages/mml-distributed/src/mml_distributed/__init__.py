"""MPI launchers for Lightning. Importing this package registers ddp_with_mpi, ddp_with_xpu and ddp_with_ccl.

`MPIEnvironment` and `MPIDDPStrategy` are built on `pytorch_lightning` if it is installed, and on
`lightning.pytorch` otherwise. If both are installed, the classes for `lightning.pytorch` are in
`mml_distributed.for_lightning`.
"""

from typing import TYPE_CHECKING

from mml_distributed._lightning import class_modules
from mml_distributed.abort import abort_job
from mml_distributed.launch import Launch
from mml_distributed.launchers import read_launch
from mml_distributed.registration import register

if TYPE_CHECKING:
    from mml_distributed.for_pytorch_lightning import MPIDDPStrategy, MPIEnvironment
else:
    MPIDDPStrategy = class_modules()[0].MPIDDPStrategy
    MPIEnvironment = class_modules()[0].MPIEnvironment

__all__ = [
    "Launch",
    "MPIDDPStrategy",
    "MPIEnvironment",
    "__version__",
    "abort_job",
    "read_launch",
    "register",
]

__version__ = "0.1.0"

register()
