"""Base class of the encoders that wrap models of matgl."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from mml_models.adapters.adapter import Adapter
from mml_models.adapters.element_types import ElementTypes
from mml_models.adapters.weights import load_weights
from mml_models.layers.edges import Edges
from mml_models.optional import import_library, quiet

_FILES = ("model.json", "model.pt", "state.pt")


class MatGLAdapter(Adapter):
    """Encoder that wraps a model of matgl.

    The embeddings are the atom features after the last block. The model's readouts are not trained.
    """

    library = "matgl"
    extra = "matgl"
    model_class: ClassVar[str]

    @classmethod
    def from_file(cls, folder: str | Path, reduction: Literal["sum", "mean"] = "sum") -> Self:
        """Make an encoder from a model or a `Potential` that matgl saved to a local folder.

        matgl reads these files without executing pickled code.

        Raises
        ------
        ValueError
            If a file is missing from the folder, or the folder contains a model of another class.
        """
        paths = {name: Path(folder) / name for name in _FILES}
        missing = [name for name, path in paths.items() if not path.is_file()]
        if missing:
            raise ValueError(
                f"{folder} has no {', '.join(missing)}. Pass a folder that was written by save() of matgl."
            )
        models, potentials = cls.import_module("models"), cls.import_module("apps.pes")
        kind = json.loads(paths["model.json"].read_text(encoding="utf-8")).get("@class")
        if kind not in (cls.model_class, "Potential"):
            raise ValueError(f"{folder} must contain a {cls.model_class} of matgl, got a {kind}")
        owner = potentials.Potential if kind == "Potential" else getattr(models, cls.model_class)
        with quiet():
            model = owner.load(paths)
        return cls.from_model(model.model if kind == "Potential" else model, reduction)

    @classmethod
    def from_model(cls, model: nn.Module, reduction: Literal["sum", "mean"] = "sum") -> Self:
        """Make an encoder from a model of matgl. The model is not copied.

        Raises
        ------
        TypeError
            If `model` is of another class.
        """
        known = getattr(cls.import_module("models"), cls.model_class)
        if not isinstance(model, known):
            raise TypeError(f"{cls.__name__} wraps a {known.__name__} of matgl, got a {type(model).__name__}")
        encoder = cls.__new__(cls)
        encoder._wrap(model, reduction)
        return encoder

    def _make(
        self, elements: Sequence[int] | None, options: dict[str, Any], weights: str | Path | None
    ) -> nn.Module:
        numbers = sorted(set(range(1, 90) if elements is None else elements))
        ElementTypes(numbers)  # raises an error for invalid atomic numbers
        models = self.import_module("models")
        symbols = import_library("ase.data", type(self).__name__, self.extra).chemical_symbols
        with quiet():
            model = getattr(models, self.model_class)(
                element_types=tuple(symbols[number] for number in numbers), is_intensive=False, **options
            )
        if weights is not None:
            load_weights(model, weights)
        return model

    def _wrap(self, model: Any, reduction: Literal["sum", "mean"]) -> None:
        known = import_library("ase.data", type(self).__name__, self.extra).atomic_numbers
        elements = ElementTypes([known[symbol] for symbol in model.element_types])
        super().__init__(self.width(model), float(model.cutoff), reduction, elements)
        self.model = model
        for part in self.unused(model):
            if isinstance(part, nn.Module):
                part.requires_grad_(False)

    @staticmethod
    @abstractmethod
    def width(model: Any) -> int:
        """Return the length of the atom features."""

    @staticmethod
    @abstractmethod
    def unused(model: Any) -> list[Any]:
        """Return the parts of matgl's model that do not affect the atom features."""

    @staticmethod
    @abstractmethod
    def bonds(edges: Edges) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return `edge_index`, vectors and lattice translations of the edges in the model's convention."""

    def graph(self, atomic_numbers: Tensor, edges: Edges) -> SimpleNamespace:
        """Return a graph with the attributes that the models of matgl read."""
        bonds, vectors, images = self.bonds(edges)
        return SimpleNamespace(
            # All atoms are at the origin, so the bond vectors that matgl computes equal our edge vectors.
            pos=vectors.new_zeros(len(atomic_numbers), 3),
            edge_index=bonds,
            pbc_offshift=vectors,
            pbc_offset=images,
            node_type=self.elements(atomic_numbers),
        )

    def run(self, graph: SimpleNamespace) -> dict[str, Any]:
        """Run the model and return its intermediate features."""
        self.model(graph)
        found: dict[str, Any] = self.model.feature_dict
        self.model.feature_dict = {}  # its tensors keep the autograd graph and cannot be copied
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling, with matgl's model replaced by its arguments and weights.

        The functions of matgl's model cannot be pickled.
        """
        state = {**self.__dict__, "_modules": {**self._modules}}
        model: Any = state["_modules"].pop("model")
        trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        state["_saved"] = (type(model), model._init_args, model.state_dict(), trained, model.training)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state and rebuild matgl's model from its arguments and weights."""
        kind, arguments, weights, trained, training = state.pop("_saved")
        super().__setstate__(state)
        with quiet():
            model = kind(**arguments)
        some = next(value for value in weights.values() if value.is_floating_point())
        model.to(device=some.device, dtype=some.dtype).load_state_dict(weights)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
        self.model = model.train(training)
