"""Encoders for periodic atomistic graphs: a batch in, embeddings out."""

from mml_models.egnn import EGNN
from mml_models.embeddings import Embeddings
from mml_models.encoder import GraphEncoder
from mml_models.generic import GenericEncoder
from mml_models.megnet import MEGNet
from mml_models.painn import PaiNN
from mml_models.schnet import SchNet
from mml_models.tensornet import TensorNet

__all__ = [
    "EGNN",
    "Embeddings",
    "GenericEncoder",
    "GraphEncoder",
    "MEGNet",
    "PaiNN",
    "SchNet",
    "TensorNet",
    "__version__",
]

__version__ = "0.1.0"
