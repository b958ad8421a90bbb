"""Encoders for PyG graphs under the older toolkit's import path. The objects are those of mml-models."""

from mml_models import EGNN

from matsciml._missing_names import add_empty_modules, missing_names

__all__ = ["EGNN"]

__getattr__ = missing_names(__name__)
add_empty_modules(__name__, "mace")
