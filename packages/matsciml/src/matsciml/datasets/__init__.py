"""Data sets of mml-data under the older toolkit's import path. The objects are the same."""

from mml_data import (
    AlexandriaDataset,
    CMDataset,
    ColabFitDataset,
    IS2REDataset,
    LiPSDataset,
    MaterialsProjectDataset,
    MaterialsTrajectoryDataset,
    MultiDataset,
    NomadDataset,
    OQMDDataset,
    S2EFDataset,
    SyntheticPointGroupDataset,
)

from matsciml._not_here import missing_names

__all__ = [
    "AlexandriaDataset",
    "CMDataset",
    "ColabFitDataset",
    "IS2REDataset",
    "LiPSDataset",
    "MaterialsProjectDataset",
    "MaterialsTrajectoryDataset",
    "MultiDataset",
    "NomadDataset",
    "OQMDDataset",
    "S2EFDataset",
    "SyntheticPointGroupDataset",
]

__getattr__ = missing_names(__name__)
