"""List the encoders of this package and their installation status."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from mml_models import adapters
from mml_models.adapters.adapter import Adapter
from mml_models.egnn import EGNN
from mml_models.generic import GenericEncoder
from mml_models.megnet import MEGNet
from mml_models.optional import is_installed
from mml_models.painn import PaiNN
from mml_models.schnet import SchNet
from mml_models.tensornet import TensorNet

ENCODERS: tuple[type[nn.Module], ...] = (
    EGNN,
    GenericEncoder,
    MEGNet,
    PaiNN,
    SchNet,
    TensorNet,
    *(getattr(adapters, name) for name in adapters.__all__),
)


@dataclass(frozen=True)
class EncoderInfo:
    """Description of an encoder.

    Attributes
    ----------
    name
        Name of the class in `mml_models`, also used as the short name in a config.
    about
        First line of the docstring of the class.
    install
        Command that installs the libraries that the encoder needs.
    is_installed
        Whether these libraries are installed.
    """

    name: str
    about: str
    install: str
    is_installed: bool

    def __str__(self) -> str:
        missing = "" if self.is_installed else f" [not installed: {self.install}]"
        return f"{self.name}: {self.about}{missing}"


def list_encoders() -> list[EncoderInfo]:
    """Return all encoders of this package, sorted by name, without importing their model libraries."""
    return sorted(map(_describe, ENCODERS), key=lambda info: info.name)


def _describe(encoder: type[nn.Module]) -> EncoderInfo:
    about = (encoder.__doc__ or "").strip().partition("\n")[0]
    extra, library = "", "torch"
    if issubclass(encoder, Adapter):
        extra, library = encoder.extra, encoder.library
    package = f'"mml-models[{extra}]"' if extra else "mml-models"
    return EncoderInfo(encoder.__name__, about, f"pip install {package}", is_installed(library))
