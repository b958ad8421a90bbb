"""Data modules of mml-data, at the older toolkit's path: the same objects."""

from mml_data import MatSciMLDataModule, MultiDataModule

from matsciml._not_here import missing_names

__all__ = ["MatSciMLDataModule", "MultiDataModule"]

__getattr__ = missing_names(__name__)
