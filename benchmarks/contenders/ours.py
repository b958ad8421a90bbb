"""mml-graphs in the version of this tree, one transform at a time and in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mml_graphs
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform, collate_samples

from contenders.face import CUTOFF, Crystal, Method, to_pymatgen

if TYPE_CHECKING:  # older versions of mml-graphs do not have it
    from mml_samples import Batch, Sample

PACKAGES = ("mml-graphs", "torch", "torch-geometric", "pymatgen-core", "vesin", "numpy")


def as_arrays(crystal: Crystal) -> Sample:
    """Return a sample of numpy arrays."""
    return {"atomic_numbers": crystal.numbers, "pos": crystal.positions, "cell": crystal.cell}


def as_structure(crystal: Crystal) -> Sample:
    """Return a sample with a pymatgen structure."""
    return {"structure": to_pymatgen(crystal)}


def methods() -> dict[str, Method]:
    """Return the transforms for both kinds of samples."""
    neighbors = PeriodicPropertiesTransform(CUTOFF, adaptive_cutoff=True)
    graph = PointCloudToGraphTransform("pyg")

    def convert(sample: Sample) -> Sample:
        return graph(neighbors(sample))

    def one_by_one(samples: list[Sample]) -> Batch:
        return collate_samples([convert(sample) for sample in samples])

    collate = mml_graphs.GraphCollate(neighbors, graph) if hasattr(mml_graphs, "GraphCollate") else one_by_one

    def count(made: Sample) -> int:
        return int(made["graph"].edge_index.shape[1])

    return {
        "arrays": Method(as_arrays, convert, count, collate),
        "Structure": Method(as_structure, convert, count, collate),
    }
