"""CHGNet of matgl on the edges of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mml_models.adapters.matgl import MatGLAdapter
from mml_models.edges import Edges
from mml_models.encoder import positive
from mml_models.pairs import find_pairs


class CHGNet(MatGLAdapter):
    """CHGNet of Deng et al. 2023 (arXiv 2302.14231): the model of matgl, with angles between bonds.

    Forces jump where an edge reaches the cutoff: matgl applies the envelope to the radial functions'
    values, not to the distance, so that their slope does not vanish there. Angles enter by their sines, too,
    so that forces jump where three atoms come in line. That is the model's own. It takes memory in
    proportion to the square of the number of edges within `threebody_cutoff` in a batch.

    `from_file` and `from_model` make an encoder of a model that others trained.

    Parameters
    ----------
    hidden_dim
        Width of the features of atoms, bonds and angles, and of the embeddings.
    num_conv
        Number of blocks; `num_blocks` of matgl.
    max_n, max_f
        Number of radial functions, and of frequencies of angles.
    cutoff
        Angstrom; edges as long as this or longer contribute nothing.
    threebody_cutoff
        Angstrom; edges with angles between them are at most this long.
    reduction
        How atoms are pooled into `system_embedding`: "sum" or "mean".
    elements
        Atomic numbers to accept; 1 to 89 where None.
    matgl_kwargs
        Further arguments of matgl's class.
    weights
        A local file with the state_dict of matgl's model; weights are random where None.

    Raises
    ------
    ImportError
        Where matgl is not installed.
    ValueError
        Where a size is not positive, an option is not known, or the weights do not fit.
    """

    model_class = "CHGNet"

    def __init__(
        self,
        hidden_dim: int = 64,
        num_conv: int = 4,
        max_n: int = 9,
        max_f: int = 4,
        cutoff: float = 6.0,
        threebody_cutoff: float = 3.0,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
        matgl_kwargs: dict[str, Any] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, num_conv=num_conv, max_n=max_n, max_f=max_f)
        options = {
            "dim_atom_embedding": hidden_dim,
            "dim_bond_embedding": hidden_dim,
            "dim_angle_embedding": hidden_dim,
            "atom_conv_hidden_dims": (hidden_dim,),
            "bond_conv_hidden_dims": (hidden_dim,),
            "num_blocks": num_conv,
            "max_n": max_n,
            "max_f": max_f,
            "cutoff": cutoff,
            "threebody_cutoff": threebody_cutoff,
            **(matgl_kwargs or {}),
        }
        self._wrap(self._make(elements, options, weights), reduction)

    @staticmethod
    def width(model: Any) -> int:
        """Return the length of the features of atoms."""
        return int(model.atom_embedding.embedding_dim)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed atoms: `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        found = self.run(self.graph(atomic_numbers, edges))
        features: Tensor = found[f"gc_{self.model.n_blocks}"]["atom_feat"]
        return features

    @staticmethod
    def unused(model: Any) -> list[Any]:
        """Return the readouts, and the last update of angles and of bonds, which nobody sees."""
        parts = [model.final_layer, model.sitewise_readout]
        if model.bond_graph_layers:
            parts.append(model.bond_graph_layers[-1].conv.edge_update_func)
        if all(layer.conv.edge_update_func is None for layer in model.atom_graph_layers):
            parts.append(model.bond_bond_weights)
        return parts

    @staticmethod
    def bonds(edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
        """Return edges from neighbour to centre, which is where its messages go."""
        return torch.stack((edges.neighbour, edges.centre)), -edges.vectors, _images(edges)


def _images(edges: Edges) -> Tensor:
    """Return numbers [E, 3] that are opposite for the two edges of a pair, and for no others.

    CHGNet leaves out the angle of an edge with the one that comes back, which it knows by its atoms and by
    its lattice translation being opposite.
    """
    pairs = find_pairs(edges)
    if pairs.edges is None or pairs.of_edge is None:
        return edges.vectors.detach()
    sign = torch.ones_like(edges.distances).index_fill(0, pairs.edges[1], -1.0)
    number = (pairs.of_edge + 1).to(sign) * sign
    return number.unsqueeze(1).expand(-1, 3)
