"""Encoders that map a batch of periodic atomistic graphs to embeddings."""

from mml_models.adapters import (
    MACE,
    QET,
    Allegro,
    CHGNet,
    DimeNetPlusPlus,
    M3GNet,
    NequIP,
    ScaleShiftMACE,
    ViSNet,
)
from mml_models.egnn import EGNN
from mml_models.embeddings import Embeddings
from mml_models.encoder import GraphEncoder
from mml_models.generic import GenericEncoder
from mml_models.listing import EncoderInfo, list_encoders
from mml_models.megnet import MEGNet
from mml_models.painn import PaiNN
from mml_models.schnet import SchNet
from mml_models.tensornet import TensorNet

__all__ = [
    "EGNN",
    "MACE",
    "QET",
    "Allegro",
    "CHGNet",
    "DimeNetPlusPlus",
    "Embeddings",
    "EncoderInfo",
    "GenericEncoder",
    "GraphEncoder",
    "M3GNet",
    "MEGNet",
    "NequIP",
    "PaiNN",
    "ScaleShiftMACE",
    "SchNet",
    "TensorNet",
    "ViSNet",
    "__version__",
    "list_encoders",
]

__version__ = "0.1.0"
