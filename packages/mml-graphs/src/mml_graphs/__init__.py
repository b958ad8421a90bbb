"""Periodic neighbours and graph batches for crystals and molecules."""

from mml_graphs.collate import collate_samples, concatenate_keys
from mml_graphs.conversion import dgl_to_pyg, pyg_to_dgl
from mml_graphs.graph import GraphToPointCloudTransform, PointCloudToGraphTransform
from mml_graphs.graph_collate import GraphCollate
from mml_graphs.lattice import cell_from_parameters
from mml_graphs.neighbors import Edges, find_edges
from mml_graphs.periodic import PeriodicPropertiesTransform

__version__ = "0.1.0"

__all__ = [
    "Edges",
    "GraphCollate",
    "GraphToPointCloudTransform",
    "PeriodicPropertiesTransform",
    "PointCloudToGraphTransform",
    "cell_from_parameters",
    "collate_samples",
    "concatenate_keys",
    "dgl_to_pyg",
    "find_edges",
    "pyg_to_dgl",
]
