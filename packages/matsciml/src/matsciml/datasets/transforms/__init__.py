"""Transforms of mml-graphs under the older toolkit's import path. The objects are the same."""

from mml_graphs import (
    AtomicSuperNodes,
    COMShift,
    CoordinateScaling,
    DistancesTransform,
    FrameAveraging,
    GraphReordering,
    GraphSuperNodes,
    GraphToPointCloudTransform,
    GraphVariablesTransform,
    NoisyPositions,
    PeriodicPropertiesTransform,
    PointCloudToGraphTransform,
    RemoveTagZeroNodes,
    ScaleRegressionTargets,
    UnitCellCalculator,
)

from matsciml._not_here import missing_names

__all__ = [
    "AtomicSuperNodes",
    "COMShift",
    "CoordinateScaling",
    "DistancesTransform",
    "FrameAveraging",
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
]

__getattr__ = missing_names(__name__)
