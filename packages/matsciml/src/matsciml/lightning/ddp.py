"""MPI launches under the older toolkit's import path. The objects are those of mml-distributed."""

from mml_distributed import MPIDDPStrategy, MPIEnvironment

__all__ = ["MPIDDPStrategy", "MPIEnvironment"]
