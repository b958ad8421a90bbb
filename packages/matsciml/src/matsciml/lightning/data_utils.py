"""Data modules of mml-data under the older toolkit's import path. The objects are the same."""

from mml_data import MatSciMLDataModule, MultiDataModule

__all__ = ["MatSciMLDataModule", "MultiDataModule"]
