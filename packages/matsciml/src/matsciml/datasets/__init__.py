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

from matsciml._missing_names import add_empty_modules

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

add_empty_modules(__name__, "base", "generic", "lmdb_cli", "schema")
