"""Encoder that wraps NequIP, and the base class that it shares with Allegro."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from mml_models.adapters.adapter import Adapter
from mml_models.adapters.element_types import ElementTypes
from mml_models.adapters.weights import load_weights
from mml_models.encoder import positive
from mml_models.layers.edges import Edges
from mml_models.optional import import_library, quiet

DEFAULT_ELEMENTS = range(1, 90)


class NequIPAdapter(Adapter):
    """Encoder that wraps a model of nequip and calls its modules one by one, up to the readout."""

    extra = "nequip"
    readout: ClassVar[str]  # name in nequip of the first module that is not called
    field: ClassVar[str]  # name in nequip of the input of that module

    @classmethod
    def from_model(cls, model: nn.Module, reduction: Literal["sum", "mean"] = "sum") -> Self:
        """Make an encoder from a `GraphModel` of nequip. The model is not copied.

        Raises
        ------
        TypeError
            If `model` does not have the readout module that the class expects.
        """
        if not any(name.split(".")[-1] == cls.readout for name, _ in model.named_modules()):
            kind = type(model).__name__
            raise TypeError(
                f"{cls.__name__} wraps a model with a {cls.readout}, which this {kind} does not have"
            )
        encoder = cls.__new__(cls)
        encoder._wrap(model, reduction)
        return encoder

    def _make(
        self,
        build: Callable[..., nn.Module],
        elements: Sequence[int] | None,
        options: dict[str, Any],
        weights: str | Path | None,
    ) -> nn.Module:
        numbers = sorted(set(DEFAULT_ELEMENTS if elements is None else elements))
        ElementTypes(numbers)  # raises an error for invalid atomic numbers
        symbols = import_library("ase.data", type(self).__name__, self.extra).chemical_symbols
        state = import_library("nequip.utils.global_state", type(self).__name__, self.extra)
        before = torch.get_default_dtype()
        with quiet():
            try:
                state.set_global_state()  # required by nequip; makes float64 the default dtype
                model = build(
                    # The builder seeds torch. This seed is drawn from the current state of torch.
                    seed=int(torch.randint(2**31, ())),
                    model_dtype=str(before).removeprefix("torch."),
                    type_names=[symbols[number] for number in numbers],
                    do_derivatives=False,
                    **options,
                )
            finally:
                torch.set_default_dtype(before)
        if weights is not None:
            load_weights(model, weights)
        return model

    def _wrap(self, model: Any, reduction: Literal["sum", "mean"]) -> None:
        known = import_library("ase.data", type(self).__name__, self.extra).atomic_numbers
        elements = ElementTypes([known[name] for name in model.type_names])
        parts = _parts(model)
        width = int(parts[self.readout].irreps_in[self.field].dim)
        super().__init__(width, float(model.metadata["r_max"]), reduction, elements)
        self.model = model
        seen = list(parts)
        for name in seen[seen.index(self.readout) :]:
            parts[name].requires_grad_(False)

    def features(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Return the inputs of the model's readout, one row per atom or per edge."""
        data = {
            "pos": edges.vectors.new_zeros(len(atomic_numbers), 3),
            "edge_index": torch.stack((edges.center, edges.neighbor)),
            "edge_vectors": edges.vectors,
            "atom_types": self.elements(atomic_numbers),
        }
        for name, part in _parts(self.model).items():
            if name == self.readout:
                break
            data = part(data)
        return data[self.field]

    @abstractmethod
    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply `fn` to all tensors, and update the dtype that the modules of nequip store."""
        super()._apply(fn, recurse)
        precision = next(self.parameters()).dtype
        for module in self.model.modules():
            for name in ("_output_dtype", "model_dtype"):
                if isinstance(getattr(module, name, None), torch.dtype):
                    setattr(module, name, precision)
        return self


class NequIP(NequIPAdapter):
    """NequIP of Batzner et al. 2021 (arXiv 2101.03164), as implemented in nequip.

    The embedding of an atom consists of its scalar features after the last layer. The model's readout is not
    trained. This encoder does not support `torch.compile` or autocast, and its tests skip the corresponding
    checks of `mml_models.testing.check_encoder`.

    Parameters
    ----------
    hidden_dim
        Number of features of each degree, and length of the embedding vectors.
    num_conv
        Number of layers, `num_layers` in nequip.
    l_max
        Largest degree of the features and the spherical harmonics.
    parity
        Whether to include features of odd parity.
    num_radial
        Number of radial functions, `num_bessels` in nequip.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    avg_num_neighbors
        Average number of neighbors, used to normalize sums over neighbors.
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".
    elements
        Accepted atomic numbers. None accepts 1 to 89. The number of parameters grows with the number of
        elements, so pass the elements of your data set.
    nequip_kwargs
        Additional keyword arguments of nequip's `NequIPGNNModel`. They override the arguments above.
    weights
        Path of a local file with the state_dict of nequip's model. None leaves the weights random.

    Raises
    ------
    ImportError
        If nequip is not installed.
    ValueError
        If a size is not positive, an option is invalid, or the weights do not match the model.
    """

    library = "nequip"
    readout = "per_atom_energy_readout"
    field = "node_features"

    def __init__(
        self,
        hidden_dim: int = 32,
        num_conv: int = 3,
        l_max: int = 1,
        parity: bool = True,
        num_radial: int = 8,
        cutoff: float = 5.0,
        avg_num_neighbors: float = 20.0,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
        nequip_kwargs: dict[str, Any] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, num_conv=num_conv, num_radial=num_radial)
        options = {
            "num_features": hidden_dim,
            "num_layers": num_conv,
            "l_max": l_max,
            "parity": parity,
            "num_bessels": num_radial,
            "r_max": cutoff,
            "avg_num_neighbors": avg_num_neighbors,
            **(nequip_kwargs or {}),
        }
        build = self.import_module("model").NequIPGNNModel
        self._wrap(self._make(build, elements, options, weights), reduction)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        return self.features(atomic_numbers, edges)


def _parts(model: Any) -> dict[str, Any]:
    """Return the modules of a nequip model by name, in the order in which they are called."""
    return dict(model.model.func.named_children())
