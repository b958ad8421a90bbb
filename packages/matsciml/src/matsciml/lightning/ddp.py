"""MPI launches under the older toolkit's import path. The objects are those of mml-distributed."""

from mml_distributed import MPIDDPStrategy, MPIEnvironment

from matsciml._not_here import missing_names

__all__ = ["MPIDDPStrategy", "MPIEnvironment"]

__getattr__ = missing_names(__name__)
