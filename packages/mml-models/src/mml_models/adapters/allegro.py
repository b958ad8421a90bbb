"""Allegro on the edges of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from mml_models.adapters.nequip import NequIPAdapter
from mml_models.edges import Edges
from mml_models.encoder import positive


class Allegro(NequIPAdapter):
    """Allegro of Musaelian et al. 2022 (arXiv 2204.05249): the model of nequip-allegro.

    Atoms see no further than the cutoff, however many layers there are. Embeddings are the sums over an
    atom's edges of what the model's readout gets: the first scalars and those of each layer, ``hidden_dim *
    (num_conv + 1)`` numbers. The readout is not trained. An atom without neighbours has the same embedding,
    zero, whatever its element.

    Parameters
    ----------
    hidden_dim
        Number of scalars of an edge.
    num_tensor
        Number of tensor features of an edge.
    num_conv
        Number of layers; `num_layers` of Allegro.
    l_max
        Largest degree of features and spherical harmonics.
    parity
        Whether there are features of odd parity, too.
    num_radial
        Number of radial functions.
    cutoff
        Angstrom; edges as long as this or longer contribute nothing.
    avg_num_neighbors
        What sums over neighbours are normalised by.
    reduction
        How atoms are pooled into `system_embedding`: "sum" or "mean".
    elements
        Atomic numbers to accept; 1 to 89 where None. Parameters grow with the square of their number: give
        those of the data.
    allegro_kwargs
        Further arguments of Allegro's `AllegroModel`.
    weights
        A local file with the state_dict of Allegro's model; weights are random where None.

    Raises
    ------
    ImportError
        Where nequip-allegro is not installed.
    ValueError
        Where a size is not positive, an option is not known, or the weights do not fit.
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
        """Embed atoms: `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        scalars = self.features(atomic_numbers, edges)
        total = scalars.new_zeros(len(atomic_numbers), scalars.shape[1])
        return total.index_add(0, edges.centre, scalars)
