"""A cutoff that grows to 40 angstrom, compared with one search at that radius."""

from __future__ import annotations

from typing import Any

import numpy as np
from mml_graphs import PeriodicPropertiesTransform
from mml_graphs.neighbors.native import find_batch_edges

from contenders.face import CUTOFF, Crystal, Method
from contenders.ours import as_arrays

PACKAGES = ("mml-graphs", "numpy")
REACHED = 40.0  # angstrom; the cutoff that `lonely_atom` needs, in steps of 0.5


def bare(crystal: Crystal) -> Any:
    """Search at the radius, for all arrays of a graph."""
    starts, pbc = np.array([0, len(crystal.positions)]), np.ones((1, 3), dtype=np.bool_)
    cutoffs = np.array([REACHED])
    return find_batch_edges(crystal.positions, starts, crystal.cell[None], pbc, cutoffs, dtype=np.float32)


def methods() -> dict[str, Method]:
    """Return the methods: grown cutoff, fixed cutoff and bare search."""

    def count(sample: dict[str, Any]) -> int:
        if sample["cutoff_radius"] != REACHED:
            raise RuntimeError(f"the cutoff is {sample['cutoff_radius']}, expected {REACHED}")
        return len(sample["src_nodes"])

    return {
        "grown": Method(as_arrays, PeriodicPropertiesTransform(CUTOFF, adaptive_cutoff=True), count),
        "fixed": Method(as_arrays, PeriodicPropertiesTransform(REACHED), count),
        "bare": Method(lambda crystal: crystal, bare, lambda made: int(made.edge_index.shape[1])),
    }
