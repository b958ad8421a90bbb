"""The output type of encoders, at the older toolkit's path."""

from mml_models import Embeddings

from matsciml._missing_names import missing_names

__all__ = ["Embeddings"]

__getattr__ = missing_names(__name__)
