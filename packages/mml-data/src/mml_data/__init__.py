"""Read and write data sets of structures: LMDB storage, splits, statistics and a Lightning data module."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mml_data.store.manifest import Manifest
from mml_data.store.writer import LMDBWriter

if TYPE_CHECKING:
    from mml_data.dataset import LMDBDataset
    from mml_data.devsets import devset_path
    from mml_data.loading.datamodule import MatSciMLDataModule
    from mml_data.loading.multi import MultiDataModule, MultiDataset
    from mml_data.named import (
        AlexandriaDataset,
        CMDataset,
        ColabFitDataset,
        IS2REDataset,
        LiPSDataset,
        MaterialsProjectDataset,
        MaterialsTrajectoryDataset,
        NomadDataset,
        OQMDDataset,
        S2EFDataset,
        SyntheticPointGroupDataset,
    )
    from mml_data.resplit import split_dataset
    from mml_data.store.shard_jobs import finish_dataset, write_shard

__all__ = [
    "AlexandriaDataset",
    "CMDataset",
    "ColabFitDataset",
    "IS2REDataset",
    "LMDBDataset",
    "LMDBWriter",
    "LiPSDataset",
    "Manifest",
    "MatSciMLDataModule",
    "MaterialsProjectDataset",
    "MaterialsTrajectoryDataset",
    "MultiDataModule",
    "MultiDataset",
    "NomadDataset",
    "OQMDDataset",
    "S2EFDataset",
    "SyntheticPointGroupDataset",
    "__version__",
    "devset_path",
    "finish_dataset",
    "split_dataset",
    "write_shard",
]

__version__ = "0.1.0"


# Import these lazily: writing and importing data sets needs neither torch nor Lightning, which take longer to
# import than everything else together.
_LATER = {
    "LMDBDataset": "dataset",
    "MatSciMLDataModule": "loading.datamodule",
    "MultiDataModule": "loading.multi",
    "MultiDataset": "loading.multi",
    "devset_path": "devsets",
    "finish_dataset": "store.shard_jobs",
    "split_dataset": "resplit",
    "write_shard": "store.shard_jobs",
}


def __getattr__(name: str) -> Any:
    module = _LATER.get(name) or ("named" if name.endswith("Dataset") and name in __all__ else None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"mml_data.{module}"), name)
