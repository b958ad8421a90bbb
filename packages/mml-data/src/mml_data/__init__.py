"""Structures on disk: LMDB store, data sets, splits, statistics and a Lightning data module."""

from typing import TYPE_CHECKING, Any

from mml_data.dataset import LMDBDataset
from mml_data.manifest import Manifest
from mml_data.writer import LMDBWriter

if TYPE_CHECKING:
    from mml_data.datamodule import MatSciMLDataModule
    from mml_data.devsets import devset_path

__all__ = ["LMDBDataset", "LMDBWriter", "Manifest", "MatSciMLDataModule", "__version__", "devset_path"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Reading and writing data sets does not need Lightning, which takes longer to import than all the rest.
    if name == "MatSciMLDataModule":
        from mml_data.datamodule import MatSciMLDataModule

        return MatSciMLDataModule
    if name == "devset_path":
        from mml_data.devsets import devset_path

        return devset_path
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
