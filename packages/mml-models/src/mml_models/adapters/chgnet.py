"""Encoder that wraps CHGNet of matgl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mml_models.adapters.matgl import MatGLAdapter
from mml_models.encoder import positive
from mml_models.layers.edges import Edges
from mml_models.layers.pairs import find_pairs


class CHGNet(MatGLAdapter):
    """CHGNet of Deng et al. 2023 (arXiv 2302.14231), as implemented in matgl, with angles between bonds.

    Forces jump when an edge reaches the cutoff, because matgl applies the envelope to the values of the
    radial functions instead of the distance. Their slope is then not zero at the cutoff. Forces also jump
    when three atoms become collinear, because the model uses the sines of angles. Both are properties of the
    model. Memory grows with the square of the number of edges within `threebody_cutoff` in a batch.

    Use `from_file` or `from_model` to make an encoder from a pretrained model.

    Parameters
    ----------
    hidden_dim
        Width of the features of atoms, bonds and angles, and length of the embedding vectors.
    num_conv
        Number of blocks, `num_blocks` in matgl.
    max_n, max_f
        Number of radial functions and number of frequencies in the expansion of angles.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    threebody_cutoff
        Maximum length of the edges between which angles are computed, angstrom.
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".
    elements
        Accepted atomic numbers. None accepts 1 to 89.
    matgl_kwargs
        Additional keyword arguments of matgl's model class. They override the arguments above.
    weights
        Path of a local file with the state_dict of matgl's model. None leaves the weights random.

    Raises
    ------
    ImportError
        If matgl is not installed.
    ValueError
        If a size is not positive, an option is invalid, or the weights do not match the model.
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
        """Return the length of the atom features."""
        return int(model.atom_embedding.embedding_dim)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        found = self.run(self.graph(atomic_numbers, edges))
        features: Tensor = found[f"gc_{self.model.n_blocks}"]["atom_feat"]
        return features

    @staticmethod
    def unused(model: Any) -> list[Any]:
        """Return the readouts, and the last updates of angles and bonds, whose outputs are not used."""
        parts = [model.final_layer, model.sitewise_readout]
        if model.bond_graph_layers:
            parts.append(model.bond_graph_layers[-1].conv.edge_update_func)
        if all(layer.conv.edge_update_func is None for layer in model.atom_graph_layers):
            parts.append(model.bond_bond_weights)
        return parts

    @staticmethod
    def bonds(edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
        """Return the edges from neighbor to center, the direction of the messages in CHGNet."""
        return torch.stack((edges.neighbor, edges.center)), -edges.vectors, _images(edges)


def _images(edges: Edges) -> Tensor:
    """Return substitutes [E, 3] for lattice translations that are opposite only for the two edges of a pair.

    CHGNet leaves out the angle between an edge and its reverse edge. It identifies the reverse edge by its
    atoms and its opposite lattice translation.
    """
    pairs = find_pairs(edges)
    if pairs.edges is None or pairs.of_edge is None:
        return edges.vectors.detach()
    sign = torch.ones_like(edges.distances).index_fill(0, pairs.edges[1], -1.0)
    number = (pairs.of_edge + 1).to(sign) * sign
    return number.unsqueeze(1).expand(-1, 3)
