"""Encoder that wraps ViSNet of PyTorch Geometric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mml_models.adapters.adapter import Adapter
from mml_models.adapters.weights import load_weights
from mml_models.elements import KnownElements
from mml_models.encoder import positive
from mml_models.layers.edges import Edges


class ViSNet(Adapter):
    """ViSNet of Wang et al. 2022 (arXiv 2210.16518), the representation model of PyTorch Geometric.

    Atoms have scalar features, and vector features that are built from spherical harmonics of the directions
    to their neighbors. PyG's own model builds a radius graph without periodic images, and treats an edge from
    an atom to one of its images as a self loop. This encoder calls the blocks of PyG with the edges of the
    batch and adds one self loop per atom, as PyG does. The embeddings are the `hidden_dim` scalar features.

    The energies of a trained ViSNet have a small jump when an edge reaches the cutoff. The layer that
    computes vectors from messages (``s_proj``) has a bias, initially zero, that is not multiplied by an
    envelope. This is a property of the model.

    Parameters
    ----------
    hidden_dim
        Number of scalar features, and length of the embedding vectors. A multiple of `num_heads`.
    num_conv
        Number of layers, `num_layers` in PyG.
    num_heads
        Number of attention heads.
    num_radial
        Number of radial functions, `num_rbf` in PyG.
    lmax
        Largest degree of the spherical harmonics, 1 or 2.
    vertex
        Whether to also use PyG's vertex geometric features.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    num_atom_embedding
        Largest atomic number that can be embedded. `max_z` in PyG is ``num_atom_embedding + 1``.
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".
    elements
        Accepted atomic numbers. None accepts 1 to `num_atom_embedding`.
    weights
        Path of a local file with the state_dict of PyG's `ViSNet` or `ViSNetBlock`. None leaves the weights
        random.

    Raises
    ------
    ValueError
        If a size is not positive, an option is invalid, or the weights do not match the model.
    """

    library = "torch_geometric"

    def __init__(
        self,
        hidden_dim: int = 128,
        num_conv: int = 6,
        num_heads: int = 8,
        num_radial: int = 32,
        lmax: Literal[1, 2] = 1,
        vertex: bool = False,
        cutoff: float = 5.0,
        num_atom_embedding: int = 99,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, num_conv=num_conv, num_heads=num_heads, num_radial=num_radial)
        positive(num_atom_embedding=num_atom_embedding)
        if hidden_dim % num_heads:
            raise ValueError(f"hidden_dim must be a multiple of num_heads={num_heads}, got {hidden_dim}")
        if lmax not in (1, 2):
            raise ValueError(f"lmax must be 1 or 2, got {lmax}")
        super().__init__(hidden_dim, cutoff, reduction, KnownElements(num_atom_embedding, elements))
        pyg = self.import_module("nn.models.visnet")
        self.model = pyg.ViSNetBlock(
            lmax=lmax,
            num_heads=num_heads,
            num_layers=num_conv,
            hidden_channels=hidden_dim,
            num_rbf=num_radial,
            max_z=num_atom_embedding + 1,
            cutoff=self.cutoff,
            vertex=vertex,
        )
        # It only affects the output vectors of the last layer, which are not used.
        self.model.vis_mp_layers[-1].s_proj.requires_grad_(False)
        if weights is not None:
            load_weights(self.model, weights, "representation_model.")

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, hidden_dim]."""
        model: Any = self.model
        between = torch.stack((edges.neighbor, edges.center))
        radial = model.distance_expansion(edges.distances)
        scalars = self._see_neighbors(atomic_numbers, between, edges.distances, radial)
        atoms = torch.arange(len(atomic_numbers), device=atomic_numbers.device)
        index = torch.cat((between, atoms.expand(2, -1)), dim=1)
        distances = torch.cat((edges.distances, edges.distances.new_zeros(len(atoms))))
        directions = edges.vectors / edges.distances.unsqueeze(-1)
        directions = model.sphere(torch.cat((directions, directions.new_zeros(len(atoms), 3))))
        messages = model.edge_embedding(index, model.distance_expansion(distances), scalars)
        vectors = scalars.new_zeros(len(atoms), directions.shape[1], scalars.shape[1])
        for layer in model.vis_mp_layers:
            change, vector_change, message_change = layer(
                scalars, vectors, index, distances, messages, directions
            )
            scalars, vectors = scalars + change, vectors + vector_change
            if message_change is not None:
                messages = messages + message_change
        points: Tensor = model.out_norm(scalars)
        return points

    def _see_neighbors(
        self, atomic_numbers: Tensor, index: Tensor, distances: Tensor, radial: Tensor
    ) -> Tensor:
        """Embed atoms together with the elements of their neighbors, as PyG's `NeighborEmbedding` does.

        Do not call its ``forward``, which drops the edges from an atom to its own images.
        """
        model: Any = self.model
        block = model.neighbor_embedding
        weights = block.distance_proj(radial) * block.cutoff(distances).unsqueeze(-1)
        around = block.propagate(index, x=block.embedding(atomic_numbers), W=weights)
        scalars: Tensor = block.combine(torch.cat((model.embedding(atomic_numbers), around), dim=1))
        return scalars
