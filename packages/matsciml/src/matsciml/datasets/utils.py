"""Collation of samples under the older toolkit's import path."""

from mml_graphs import concatenate_keys

from matsciml._missing_names import missing_names

__all__ = ["concatenate_keys"]

__getattr__ = missing_names(__name__)
