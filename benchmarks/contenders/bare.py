"""The compiled searches on prepared arrays: a lower bound for libraries that use them on one structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymatgen.optimization.neighbors import find_points_in_spheres
from vesin import NeighborList

from contenders.face import CUTOFF, Crystal, Method

PACKAGES = ("pymatgen-core", "vesin", "numpy")
PERIODIC = np.ones(3, dtype=np.int64)


def search_pymatgen(crystal: Crystal) -> Any:
    """Search with pymatgen. The result includes pairs of an atom with itself."""
    _, positions, cell = crystal
    return find_points_in_spheres(positions, positions, CUTOFF, PERIODIC, cell)


def search_vesin(crystal: Crystal) -> Any:
    """Search with vesin on one thread."""
    _, positions, cell = crystal
    search = NeighborList(cutoff=CUTOFF, full_list=True, n_threads=1)
    return search.compute(positions, cell, True, quantities="ijSd", copy=False)


def methods() -> dict[str, Method]:
    """Return the methods of both searches."""
    return {
        "find_points_in_spheres": Method(
            lambda crystal: crystal, search_pymatgen, lambda made: int(np.count_nonzero(made[3] > 1e-8))
        ),
        "vesin": Method(lambda crystal: crystal, search_vesin, lambda made: len(made[0])),
    }
