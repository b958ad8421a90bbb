"""`MultiDataset`, which combines several data sets, under the older toolkit's import path."""

from mml_data import MultiDataset

__all__ = ["MultiDataset"]
