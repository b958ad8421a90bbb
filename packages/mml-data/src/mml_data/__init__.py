"""Structures on disk: LMDB store, data sets, splits, statistics and a Lightning data module."""

from mml_data.dataset import LMDBDataset
from mml_data.manifest import Manifest
from mml_data.writer import LMDBWriter

__all__ = ["LMDBDataset", "LMDBWriter", "Manifest", "__version__"]

__version__ = "0.1.0"
