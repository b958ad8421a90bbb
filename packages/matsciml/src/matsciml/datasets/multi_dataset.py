"""Several data sets at once, at the older toolkit's path."""

from mml_data import MultiDataset

from matsciml._not_here import missing_names

__all__ = ["MultiDataset"]

__getattr__ = missing_names(__name__)
