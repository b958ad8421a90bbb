"""Encoder that wraps DimeNet++ of PyTorch Geometric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from mml_models.adapters.adapter import Adapter
from mml_models.adapters.spherical import SphericalBessel, zonal_harmonics
from mml_models.adapters.triplets import find_triplets
from mml_models.adapters.weights import load_weights
from mml_models.elements import KnownElements
from mml_models.encoder import positive
from mml_models.layers.edges import Edges


class DimeNetPlusPlus(Adapter):
    """DimeNet++ of Gasteiger et al. 2020 (arXiv 2011.14115), built from the blocks of PyTorch Geometric.

    Messages belong to edges. An edge j -> i receives the messages of the edges k -> j, with weights that
    depend on distances and angles. PyG's own model builds a radius graph without periodic images, which
    requires compiled extension packages. This encoder calls the blocks of PyG with the edges of the batch
    instead.

    The basis functions are those of PyG, but they are computed from cosines of angles and with polynomials of
    distances. Forces are therefore differentiable if three atoms are collinear, as in most crystals.

    All atoms without neighbors have the same embedding, regardless of their element, because the model
    represents atoms only by their edges.

    Parameters
    ----------
    hidden_dim
        Length of the messages.
    output_dim
        Length of the embedding vectors, `out_channels` in PyG.
    num_conv
        Number of interaction blocks, `num_blocks` in PyG.
    int_emb_size, basis_emb_size, out_emb_channels, num_spherical, num_radial, envelope_exponent, \
num_before_skip, num_after_skip, num_output_layers
        Same as in PyG's `DimeNetPlusPlus`.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    num_atom_embedding
        Largest atomic number that can be embedded.
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".
    elements
        Accepted atomic numbers. None accepts 1 to `num_atom_embedding`.
    weights
        Path of a local file with the state_dict of PyG's model. None leaves the weights random.

    Raises
    ------
    ValueError
        If a size is not positive, an option is invalid, or the weights do not match the model.
    """

    library = "torch_geometric"

    def __init__(
        self,
        hidden_dim: int = 128,
        output_dim: int = 64,
        num_conv: int = 4,
        int_emb_size: int = 64,
        basis_emb_size: int = 8,
        out_emb_channels: int = 256,
        num_spherical: int = 7,
        num_radial: int = 6,
        cutoff: float = 5.0,
        envelope_exponent: int = 5,
        num_before_skip: int = 1,
        num_after_skip: int = 2,
        num_output_layers: int = 3,
        num_atom_embedding: int = 94,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, output_dim=output_dim, num_conv=num_conv, int_emb_size=int_emb_size)
        positive(basis_emb_size=basis_emb_size, out_emb_channels=out_emb_channels, num_radial=num_radial)
        positive(num_atom_embedding=num_atom_embedding, envelope_exponent=envelope_exponent)
        if num_spherical < 2:
            raise ValueError(f"num_spherical must be at least 2, got {num_spherical}")
        super().__init__(output_dim, cutoff, reduction, KnownElements(num_atom_embedding, elements))
        self.num_spherical = num_spherical
        self.bessel = SphericalBessel(num_spherical, num_radial)
        pyg = self.import_module("nn.models.dimenet")
        silu = nn.functional.silu
        embedding = pyg.EmbeddingBlock(num_radial, hidden_dim, silu)
        embedding.emb = nn.Embedding(num_atom_embedding + 1, hidden_dim)
        embedding.reset_parameters()
        outputs = [
            # PyG's default "zeros" suits energies. Zero embeddings would not be trained.
            pyg.OutputPPBlock(
                num_radial,
                hidden_dim,
                out_emb_channels,
                output_dim,
                num_output_layers,
                silu,
                "glorot_orthogonal",
            )
            for _ in range(num_conv + 1)
        ]
        interactions = [
            pyg.InteractionPPBlock(
                hidden_dim,
                int_emb_size,
                basis_emb_size,
                num_spherical,
                num_radial,
                num_before_skip,
                num_after_skip,
                silu,
            )
            for _ in range(num_conv)
        ]
        # The same names as in PyG's model, so that its state_dict can be loaded.
        self.model = nn.ModuleDict(
            {
                "rbf": pyg.BesselBasisLayer(num_radial, self.cutoff, envelope_exponent),
                "emb": embedding,
                "output_blocks": nn.ModuleList(outputs),
                "interaction_blocks": nn.ModuleList(interactions),
            }
        )
        if weights is not None:
            load_weights(self.model, weights)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        model: Any = self.model
        num_atoms, distances = len(atomic_numbers), edges.distances
        second, first = find_triplets(edges)
        radial = model.rbf(distances)
        scaled = distances / self.cutoff
        bessel = model.rbf.envelope(scaled).unsqueeze(-1) * self.bessel(scaled)
        dots = (edges.vectors[second] * edges.vectors[first]).sum(dim=-1)
        harmonics = zonal_harmonics(dots / (distances[second] * distances[first]), self.num_spherical)
        basis = bessel.unflatten(1, (self.num_spherical, -1))[first] * harmonics.unsqueeze(-1)
        spherical = basis.flatten(start_dim=1)
        messages = model.emb(atomic_numbers, radial, edges.center, edges.neighbor)
        points: Tensor = model.output_blocks[0](messages, radial, edges.center, num_atoms)
        for interaction, output in zip(model.interaction_blocks, model.output_blocks[1:], strict=True):
            messages = interaction(messages, radial, spherical, first, second)
            points = points + output(messages, radial, edges.center, num_atoms)
        return points
