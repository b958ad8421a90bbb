"""Encoder that wraps Allegro."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from mml_models.adapters.nequip import NequIPAdapter
from mml_models.encoder import positive
from mml_models.layers.edges import Edges


class Allegro(NequIPAdapter):
    """Allegro of Musaelian et al. 2022 (arXiv 2204.05249), as implemented in nequip-allegro.

    The receptive field is the cutoff, regardless of the number of layers. The embedding of an atom is the sum
    over its edges of the inputs of the model's readout: the initial scalars and the scalars of each layer,
    ``hidden_dim * (num_conv + 1)`` numbers. The readout itself is not trained. The embedding of an atom
    without neighbors is zero, regardless of its element.

    Parameters
    ----------
    hidden_dim
        Number of scalar features of an edge.
    num_tensor
        Number of tensor features of an edge.
    num_conv
        Number of layers, `num_layers` in Allegro.
    l_max
        Largest degree of the features and the spherical harmonics.
    parity
        Whether to include features of odd parity.
    num_radial
        Number of radial functions.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    avg_num_neighbors
        Average number of neighbors, used to normalize sums over neighbors.
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".
    elements
        Accepted atomic numbers. None accepts 1 to 89. The number of parameters grows with the square of the
        number of elements, so pass the elements of your data set.
    allegro_kwargs
        Additional keyword arguments of Allegro's `AllegroModel`. They override the arguments above.
    weights
        Path of a local file with the state_dict of Allegro's model. None leaves the weights random.

    Raises
    ------
    ImportError
        If nequip-allegro is not installed.
    ValueError
        If a size is not positive, an option is invalid, or the weights do not match the model.
    """

    library = "allegro"
    readout = "edge_readout"
    field = "edge_features"

    def __init__(
        self,
        hidden_dim: int = 64,
        num_tensor: int = 16,
        num_conv: int = 2,
        l_max: int = 1,
        parity: bool = True,
        num_radial: int = 8,
        cutoff: float = 5.0,
        avg_num_neighbors: float = 20.0,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
        allegro_kwargs: dict[str, Any] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, num_tensor=num_tensor, num_conv=num_conv, num_radial=num_radial)
        radial = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": num_radial}
        options = {
            "num_scalar_features": hidden_dim,
            "num_tensor_features": num_tensor,
            "num_layers": num_conv,
            "l_max": l_max,
            "parity": parity,
            "radial_chemical_embed": radial,
            "r_max": cutoff,
            "avg_num_neighbors": avg_num_neighbors,
            **(allegro_kwargs or {}),
        }
        build = self.import_module("model").AllegroModel
        self._wrap(self._make(build, elements, options, weights), reduction)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        scalars = self.features(atomic_numbers, edges)
        total = scalars.new_zeros(len(atomic_numbers), scalars.shape[1])
        return total.index_add(0, edges.center, scalars)
