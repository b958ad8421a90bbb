"""Encoders that wrap the models of other libraries, which are imported on first use."""

from mml_models.adapters.allegro import Allegro
from mml_models.adapters.chgnet import CHGNet
from mml_models.adapters.dimenet import DimeNetPlusPlus
from mml_models.adapters.m3gnet import M3GNet
from mml_models.adapters.mace import MACE, ScaleShiftMACE
from mml_models.adapters.nequip import NequIP
from mml_models.adapters.qet import QET
from mml_models.adapters.visnet import ViSNet

__all__ = [
    "MACE",
    "QET",
    "Allegro",
    "CHGNet",
    "DimeNetPlusPlus",
    "M3GNet",
    "NequIP",
    "ScaleShiftMACE",
    "ViSNet",
]
