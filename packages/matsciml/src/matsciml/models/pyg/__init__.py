"""Encoders on PyG graphs, at the older toolkit's path: the same objects as in mml-models."""

from mml_models import EGNN

from matsciml._not_here import missing_names

__all__ = ["EGNN"]

__getattr__ = missing_names(__name__)
