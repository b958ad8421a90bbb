"""Transforms other than neighbor search and graph construction, one per file, from sample to sample."""

from mml_graphs.transforms.atomic_super_nodes import AtomicSuperNodes
from mml_graphs.transforms.com_shift import COMShift
from mml_graphs.transforms.coordinate_scaling import CoordinateScaling
from mml_graphs.transforms.distances_transform import DistancesTransform
from mml_graphs.transforms.frame_averaging import FrameAveraging
from mml_graphs.transforms.graph_reordering import GraphReordering
from mml_graphs.transforms.graph_super_nodes import GraphSuperNodes
from mml_graphs.transforms.graph_variables_transform import GraphVariablesTransform
from mml_graphs.transforms.noisy_positions import NoisyPositions
from mml_graphs.transforms.remove_tag_zero_nodes import RemoveTagZeroNodes
from mml_graphs.transforms.scale_regression_targets import ScaleRegressionTargets
from mml_graphs.transforms.unit_cell_calculator import UnitCellCalculator

__all__ = [
    "AtomicSuperNodes",
    "COMShift",
    "CoordinateScaling",
    "DistancesTransform",
    "FrameAveraging",
    "GraphReordering",
    "GraphSuperNodes",
    "GraphVariablesTransform",
    "NoisyPositions",
    "RemoveTagZeroNodes",
    "ScaleRegressionTargets",
    "UnitCellCalculator",
]
