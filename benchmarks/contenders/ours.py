"""mml-graphs in the version of this tree: its transforms for one sample, and `GraphCollate` for batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mml_graphs import GraphCollate, PeriodicPropertiesTransform, PointCloudToGraphTransform

from contenders.face import CUTOFF, Crystal, Method, to_ase, to_pymatgen

if TYPE_CHECKING:
    from mml_samples import Sample

PACKAGES = ("mml-graphs", "torch", "torch-geometric", "pymatgen-core", "ase", "numpy")
RETURNS = "ends, images, offsets, unit offsets, distances"


def as_arrays(crystal: Crystal) -> Sample:
    """Return a sample of numpy arrays."""
    return {"atomic_numbers": crystal.numbers, "pos": crystal.positions, "cell": crystal.cell}


def as_structure(crystal: Crystal) -> Sample:
    """Return a sample with a pymatgen structure."""
    return {"structure": to_pymatgen(crystal)}


def as_atoms(crystal: Crystal) -> Sample:
    """Return a sample with an ASE structure."""
    return {"structure": to_ase(crystal)}


def methods() -> dict[str, Method]:
    """Return the transforms for the three kinds of samples."""
    neighbors = PeriodicPropertiesTransform(CUTOFF, adaptive_cutoff=True)
    graph = PointCloudToGraphTransform("pyg")
    collate = GraphCollate(neighbors, graph)

    def convert(sample: Sample) -> Sample:
        return graph(neighbors(sample))

    def count(made: Sample) -> int:
        return int(made["graph"].edge_index.shape[1])

    return {
        name: Method(prepare, convert, count, collate, RETURNS)
        for name, prepare in (("Structure", as_structure), ("Atoms", as_atoms), ("arrays", as_arrays))
    }
