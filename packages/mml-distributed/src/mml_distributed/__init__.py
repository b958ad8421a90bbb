"""MPI launchers for Lightning. Importing this package registers ddp_with_mpi, ddp_with_xpu and ddp_with_ccl.

The import is cheap: it imports neither torch nor Lightning. The names are registered as soon as Lightning is
imported. `MPIEnvironment` and `MPIDDPStrategy` are built on `pytorch_lightning` if it is installed, and on
`lightning.pytorch` otherwise. If both are installed, the classes for `lightning.pytorch` are in
`mml_distributed.for_lightning`.
"""

from typing import TYPE_CHECKING

from mml_distributed._lightning import preferred_classes, register
from mml_distributed.abort import abort_job
from mml_distributed.launch import Launch
from mml_distributed.launchers import read_launch

if TYPE_CHECKING:
    from mml_distributed.for_pytorch_lightning import MPIDDPStrategy, MPIEnvironment

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


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(preferred_classes(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register()
