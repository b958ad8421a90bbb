"""Compiled searches on prepared arrays: the one of mml-graphs, pymatgen's and vesin's."""

from __future__ import annotations

from typing import Any

import numpy as np
from mml_graphs.neighbors.native import find_batch_edges
from pymatgen.optimization.neighbors import find_points_in_spheres
from vesin import NeighborList

from contenders.face import CUTOFF, Crystal, Method

PACKAGES = ("mml-graphs", "pymatgen-core", "vesin", "numpy")
PERIODIC = np.ones(3, dtype=np.int64)
ALL, ONE = np.ones((1, 3), dtype=np.bool_), np.array([CUTOFF])


def prepare(crystal: Crystal) -> Any:
    """Return the arguments of the native search."""
    return crystal.positions, np.array([0, len(crystal.positions)]), crystal.cell[None], ALL, ONE


def native(arguments: Any) -> Any:
    """Search as for a graph: all arrays of the graph, in single precision."""
    return find_batch_edges(*arguments, dtype=np.float32)


def native_bare(arguments: Any) -> Any:
    """Search with the arrays that pymatgen returns."""
    return find_batch_edges(*arguments, offsets=False, unit_offsets=False)


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
    """Return the searches."""

    def count(made: Any) -> int:
        return int(made.edge_index.shape[1])

    returns = "ends, images, distances"
    return {
        "native, all arrays": Method(
            prepare, native, count, returns="ends, images, offsets, unit offsets, distances"
        ),
        "native": Method(prepare, native_bare, count, returns=returns),
        "pymatgen": Method(
            lambda crystal: crystal,
            search_pymatgen,
            lambda made: int(np.count_nonzero(made[3] > 1e-8)),
            returns=returns,
        ),
        "vesin": Method(lambda crystal: crystal, search_vesin, lambda made: len(made[0]), returns=returns),
    }
