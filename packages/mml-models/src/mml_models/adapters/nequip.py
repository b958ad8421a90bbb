"""NequIP on the edges of the batch, and what Allegro has in common with it."""

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
from mml_models.edges import Edges
from mml_models.encoder import positive
from mml_models.optional import import_library, quiet

DEFAULT_ELEMENTS = range(1, 90)


class NequIPAdapter(Adapter):
    """An encoder around a model of nequip, whose modules are called one by one, up to the readout."""

    extra = "nequip"
    readout: ClassVar[str]  # nequip's name of the module after which nothing is used
    field: ClassVar[str]  # nequip's name of what that module gets

    @classmethod
    def from_model(cls, model: nn.Module, reduction: Literal["sum", "mean"] = "sum") -> Self:
        """Make an encoder of a `GraphModel` of nequip, which is not copied.

        Raises
        ------
        TypeError
            Where `model` has no such parts as the class adapts.
        """
        if not any(name.split(".")[-1] == cls.readout for name, _ in model.named_modules()):
            kind = type(model).__name__
            raise TypeError(f"{cls.__name__} is made of a model with a {cls.readout}, not of this {kind}.")
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
        ElementTypes(numbers)  # refuses what is no element
        symbols = import_library("ase.data", type(self).__name__, self.extra).chemical_symbols
        state = import_library("nequip.utils.global_state", type(self).__name__, self.extra)
        before = torch.get_default_dtype()
        with quiet():
            try:
                state.set_global_state()  # nequip's own way, which makes float64 the default
                model = build(
                    # Its builders seed torch: with a number that torch's own seed gives.
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
        """Return what the model's readout gets, of atoms or of edges."""
        data = {
            "pos": edges.vectors.new_zeros(len(atomic_numbers), 3),
            "edge_index": torch.stack((edges.centre, edges.neighbour)),
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
        """Embed atoms: `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Tell nequip's modules of another precision, which they keep a note of."""
        super()._apply(fn, recurse)
        precision = next(self.parameters()).dtype
        for module in self.model.modules():
            for name in ("_output_dtype", "model_dtype"):
                if isinstance(getattr(module, name, None), torch.dtype):
                    setattr(module, name, precision)
        return self


class NequIP(NequIPAdapter):
    """NequIP of Batzner et al. 2021 (arXiv 2101.03164): the model of nequip.

    Embeddings are the scalars of atoms after the last layer; the model's readout is not trained. It cannot
    be traced by `torch.compile` here, nor run under autocast: the suite's checks of these are left out.

    Parameters
    ----------
    hidden_dim
        Number of features of each degree, and length of the embeddings.
    num_conv
        Number of layers; `num_layers` of nequip.
    l_max
        Largest degree of features and spherical harmonics.
    parity
        Whether there are features of odd parity, too.
    num_radial
        Number of radial functions; `num_bessels` of nequip.
    cutoff
        Angstrom; edges as long as this or longer contribute nothing.
    avg_num_neighbors
        What sums over neighbours are normalised by.
    reduction
        How atoms are pooled into `system_embedding`: "sum" or "mean".
    elements
        Atomic numbers to accept; 1 to 89 where None. Parameters grow with their number: give those of the
        data.
    nequip_kwargs
        Further arguments of nequip's `NequIPGNNModel`.
    weights
        A local file with the state_dict of nequip's model; weights are random where None.

    Raises
    ------
    ImportError
        Where nequip is not installed.
    ValueError
        Where a size is not positive, an option is not known, or the weights do not fit.
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
        """Embed atoms: `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        return self.features(atomic_numbers, edges)


def _parts(model: Any) -> dict[str, Any]:
    """Return the modules that make nequip's energy, in the order that they are called in."""
    return dict(model.model.func.named_children())
