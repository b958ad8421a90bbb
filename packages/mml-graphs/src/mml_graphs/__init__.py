"""Periodic neighbors, graphs and graph batches for crystals and molecules."""

from typing import TYPE_CHECKING, Any

from mml_graphs.batches.collate import collate_samples, concatenate_keys
from mml_graphs.batches.graph_collate import GraphCollate
from mml_graphs.device.batched import BatchEdges, periodic_edges_batch
from mml_graphs.graph import GraphToPointCloudTransform, PointCloudToGraphTransform
from mml_graphs.libraries.conversion import dgl_to_pyg, pyg_to_dgl
from mml_graphs.neighbors.edges import Edges
from mml_graphs.neighbors.find_edges import find_edges
from mml_graphs.neighbors.lattice import cell_from_parameters
from mml_graphs.periodic import PeriodicPropertiesTransform

if TYPE_CHECKING:
    from mml_graphs.transforms import (
        AtomicSuperNodes,
        COMShift,
        CoordinateScaling,
        DistancesTransform,
        FrameAveraging,
        GraphReordering,
        GraphSuperNodes,
        GraphVariablesTransform,
        NoisyPositions,
        RemoveTagZeroNodes,
        ScaleRegressionTargets,
        UnitCellCalculator,
    )

__version__ = "0.1.0"

__all__ = [
    "AtomicSuperNodes",
    "BatchEdges",
    "COMShift",
    "CoordinateScaling",
    "DistancesTransform",
    "Edges",
    "FrameAveraging",
    "GraphCollate",
    "GraphReordering",
    "GraphSuperNodes",
    "GraphToPointCloudTransform",
    "GraphVariablesTransform",
    "NoisyPositions",
    "PeriodicPropertiesTransform",
    "PointCloudToGraphTransform",
    "RemoveTagZeroNodes",
    "ScaleRegressionTargets",
    "UnitCellCalculator",
    "cell_from_parameters",
    "collate_samples",
    "concatenate_keys",
    "dgl_to_pyg",
    "find_edges",
    "periodic_edges_batch",
    "pyg_to_dgl",
]


def __getattr__(name: str) -> Any:
    """Import the transforms of `mml_graphs.transforms` on first use, because most users need few of them."""
    if name in __all__:
        from mml_graphs import transforms

        return getattr(transforms, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
