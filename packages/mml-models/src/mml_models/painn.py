"""PaiNN: atoms have scalar and vector features, so that messages depend on directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mml_models.elements import ElementEmbedding
from mml_models.encoder import GraphEncoder, positive
from mml_models.layers.activations import SiLU
from mml_models.layers.convolution import convolve
from mml_models.layers.edges import BesselBasis, Edges, cosine_envelope
from mml_models.layers.pairs import Pairs, find_pairs


class PaiNN(GraphEncoder):
    """Polarizable atom interaction network of Schuett et al. 2021 (arXiv 2102.03150) on periodic edges.

    Atoms have scalars ``s`` [F] and vectors ``v`` [3, F]. With radial functions ``g`` of the distance, the
    envelope ``u = (cos(pi d / cutoff) + 1) / 2`` and the direction ``e_ij`` of an edge, the messages of a
    block are (eq. 7 and 8)::

        (a, b, c)_ij = phi(s_j) * (W g(d_ij) + w) u(d_ij)
        s_i <- s_i + sum_j a_ij
        v_i <- v_i + sum_j (v_j * b_ij + e_ij c_ij)

    The block then mixes the scalars and the vectors of each atom (eq. 9 and 10). Norms of vectors are
    computed as ``sqrt(|v|^2 + 1e-8)``, so that the forces are differentiable if a vector is zero.

    Parameters
    ----------
    hidden_dim
        Width F of the scalars and the vectors.
    output_dim
        Length of the embedding vectors.
    num_conv
        Number of blocks.
    num_radial
        Number of radial functions (see `mml_models.layers.edges.BesselBasis`).
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    num_atom_embedding
        Largest atomic number that can be embedded.
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".
    elements
        Accepted atomic numbers. None accepts 1 to `num_atom_embedding`.

    Raises
    ------
    ValueError
        If a size is not positive or an option is invalid.
    """

    def __init__(
        self,
        hidden_dim: int = 64,
        output_dim: int = 64,
        num_conv: int = 3,
        num_radial: int = 20,
        cutoff: float = 5.0,
        num_atom_embedding: int = 100,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, output_dim=output_dim, num_conv=num_conv, num_radial=num_radial)
        positive(num_atom_embedding=num_atom_embedding)
        super().__init__(
            output_dim, cutoff, reduction, ElementEmbedding(hidden_dim, num_atom_embedding, elements)
        )
        self.receptive_field = num_conv * self.cutoff
        self.basis = BesselBasis(num_radial, self.cutoff)
        self.messages = nn.ModuleList(PaiNNMessage(hidden_dim, num_radial) for _ in range(num_conv))
        self.updates = nn.ModuleList(
            PaiNNUpdate(hidden_dim, keep_vectors=block < num_conv - 1) for block in range(num_conv)
        )
        self.readout = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim), SiLU(), nn.Linear(hidden_dim, output_dim)
        )

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        pairs = find_pairs(edges)
        distances = pairs.first(edges.distances)
        sines = self.basis(distances)
        envelope = cosine_envelope(distances, self.cutoff).unsqueeze(-1)
        directions = edges.vectors / edges.distances.clamp(min=1e-6).unsqueeze(-1)
        scalars = self.elements(atomic_numbers)
        vectors = scalars.new_zeros(scalars.shape[0], 3, scalars.shape[1])
        for message, update in zip(self.messages, self.updates, strict=True):
            scalars, vectors = message(scalars, vectors, sines, envelope, directions, edges, pairs)
            scalars, vectors = update(scalars, vectors)
        points: Tensor = self.readout(scalars)
        return points


class PaiNNMessage(nn.Module):
    """Messages of one block of `PaiNN`, eq. 7 and 8, for N atoms, E edges and P pairs."""

    def __init__(self, hidden_dim: int, num_radial: int) -> None:
        super().__init__()
        self.context = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim), SiLU(), nn.Linear(hidden_dim, 3 * hidden_dim)
        )
        self.filter = nn.Linear(num_radial, 3 * hidden_dim)

    def forward(
        self,
        scalars: Tensor,
        vectors: Tensor,
        sines: Tensor,
        envelope: Tensor,
        directions: Tensor,
        edges: Edges,
        pairs: Pairs,
    ) -> tuple[Tensor, Tensor]:
        """Return the updated `scalars` [N, F] and `vectors` [N, 3, F].

        The other inputs are the radial functions `sines` [P, K], `envelope` [P, 1] and `directions` [E, 3].
        """
        filters = (self.filter(sines) * envelope).unflatten(-1, (3, -1))
        to_scalars, along_vectors, along_edges = self.context(scalars).unsqueeze(1).chunk(3, dim=-1)
        # The first two terms multiply features of the neighbor by a filter of the edge: a convolution. The
        # last term depends on the direction of the edge and is computed separately.
        sent = torch.cat((to_scalars, vectors * along_vectors), dim=1)
        received = convolve(sent, filters[:, :2], edges, pairs, (1, 3))
        along = along_edges.squeeze(1).index_select(0, edges.neighbor) * pairs.spread(filters[:, 2])
        pulls = directions.unsqueeze(-1) * along.unsqueeze(1)
        pulled = pulls.new_zeros(vectors.shape).index_add(0, edges.center, pulls)
        return scalars + received[:, 0], vectors + received[:, 1:] + pulled


class PaiNNUpdate(nn.Module):
    """Mixing of scalars and vectors in one block of `PaiNN`, eq. 9 and 10.

    `keep_vectors` is False in the last block, whose vectors are not used.
    """

    def __init__(self, hidden_dim: int, *, keep_vectors: bool) -> None:
        super().__init__()
        self.keep_vectors = keep_vectors
        self.project = nn.Linear(hidden_dim, 2 * hidden_dim, bias=False)
        self.mix = nn.Sequential(
            nn.Linear(2 * hidden_dim, hidden_dim),
            SiLU(),
            nn.Linear(hidden_dim, (3 if keep_vectors else 2) * hidden_dim),
        )

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the updated `scalars` [N, F] and `vectors` [N, 3, F]."""
        first, second = self.project(vectors).chunk(2, dim=-1)
        length = (second.square().sum(dim=1) + 1e-8).sqrt()
        gates = self.mix(torch.cat((scalars, length), dim=-1)).chunk(3 if self.keep_vectors else 2, dim=-1)
        scalars = scalars + gates[0] + gates[1] * (first * second).sum(dim=1)
        if self.keep_vectors:
            vectors = vectors + gates[2].unsqueeze(1) * first
        return scalars, vectors
