"""A cutoff that grows to 40 angstrom, compared with one search at that radius."""

from __future__ import annotations

from typing import Any

import numpy as np
from mml_graphs import PeriodicPropertiesTransform
from pymatgen.optimization.neighbors import find_points_in_spheres

from contenders.face import CUTOFF, Crystal, Method
from contenders.ours import as_arrays

PACKAGES = ("mml-graphs", "pymatgen-core")
REACHED = 40.0  # angstrom; the cutoff that `lonely_atom` needs, in steps of 0.5


def bare(crystal: Crystal) -> Any:
    """Search with pymatgen at the radius."""
    _, positions, cell = crystal
    return find_points_in_spheres(positions, positions, REACHED, np.ones(3, dtype=np.int64), cell)


def methods() -> dict[str, Method]:
    """Return the methods: grown cutoff, fixed cutoff and bare search."""

    def count(sample: dict[str, Any]) -> int:
        if sample["cutoff_radius"] != REACHED:
            raise RuntimeError(f"the cutoff is {sample['cutoff_radius']}, expected {REACHED}")
        return len(sample["src_nodes"])

    return {
        "grown": Method(as_arrays, PeriodicPropertiesTransform(CUTOFF, adaptive_cutoff=True), count),
        "fixed": Method(as_arrays, PeriodicPropertiesTransform(REACHED), count),
        "bare": Method(lambda crystal: crystal, bare, lambda made: int(np.count_nonzero(made[3] > 1e-8))),
    }
