"""Data modules of mml-data under the older toolkit's import path. The objects are the same."""

from mml_data import MatSciMLDataModule, MultiDataModule

from matsciml._not_here import missing_names

__all__ = ["MatSciMLDataModule", "MultiDataModule"]

__getattr__ = missing_names(__name__)
