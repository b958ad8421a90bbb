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

from matsciml._missing_names import add_empty_modules

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

add_empty_modules(__name__, "base")
