"""Encoders for PyG graphs under the older toolkit's import path. The objects are those of mml-models."""

from mml_models import EGNN

from matsciml._not_here import missing_names

__all__ = ["EGNN"]

__getattr__ = missing_names(__name__)
