"""`MultiDataset`, which combines several data sets, under the older toolkit's import path."""

from mml_data import MultiDataset

from matsciml._not_here import missing_names

__all__ = ["MultiDataset"]

__getattr__ = missing_names(__name__)
