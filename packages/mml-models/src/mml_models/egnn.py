"""EGNN: message passing along edges, with learned, equivariant displacements of the atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mml_models.elements import ElementEmbedding
from mml_models.encoder import GraphEncoder, positive
from mml_models.layers.activations import activation_class
from mml_models.layers.edge_network import Weights, run_edge_network
from mml_models.layers.edge_rows import EdgeRows, edge_rows
from mml_models.layers.edges import Edges, GaussianBasis, polynomial_envelope
from mml_models.layers.pairs import find_pairs


class EGNN(GraphEncoder):
    """E(n)-equivariant graph network of Satorras et al. 2021 (arXiv 2102.09844) on periodic edges.

    A layer with edge vectors ``r_ij``, initially ``x_j + offset_ij - x_i``, and the envelope ``u_ij``
    computes (eq. 3 to 6)::

        m_ij = phi_e(h_i, h_j, |r_ij|^2 / cutoff^2, a_ij) u_ij
        x_i <- x_i + sum_j (x_i - x_j - offset_ij) phi_x(m_ij) u_ij / C
        m_i = sum_j m_ij / C
        h_i <- h_i + phi_h(h_i, m_i)

    This implementation makes four choices that the paper leaves open:

    - The edge attributes ``a_ij`` are Gaussians of the initial distance, because a squared distance alone
      resolves the neighbor shells of a crystal poorly.
    - ``u_ij`` is the polynomial envelope of the initial distance. It keeps energies and forces continuous
      when edges appear or disappear.
    - C is a constant, because the number of neighbors is discontinuous.
    - Layers update the edge vectors with the displacements of the atoms, ``r_ij <- r_ij + dx_j - dx_i``, so
      that the result does not depend on the choice of the unit cell. The last layer does not displace atoms,
      because its displacements would not be used.

    Parameters
    ----------
    hidden_dim
        Width of the atom vectors and the messages.
    output_dim
        Length of the embedding vectors.
    num_conv
        Number of layers.
    num_atom_embedding
        Largest atomic number that can be embedded.
    activation
        Twice differentiable activation function: "GELU", "Mish", "SiLU", "Softplus" or "Tanh".
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    num_gaussians
        Number of Gaussians in the expansion of a distance.
    neighbor_norm
        Constant C by which sums over neighbors are divided. A value near the square root of the number of
        neighbors keeps the vectors of order one.
    update_coords
        Whether to displace atoms between layers. If False, the network uses only distances and is cheaper.
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
        num_atom_embedding: int = 100,
        activation: str = "SiLU",
        cutoff: float = 5.0,
        num_gaussians: int = 16,
        neighbor_norm: float = 6.0,
        update_coords: bool = True,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, output_dim=output_dim, num_conv=num_conv)
        positive(num_atom_embedding=num_atom_embedding)
        super().__init__(
            output_dim, cutoff, reduction, ElementEmbedding(hidden_dim, num_atom_embedding, elements)
        )
        self.receptive_field = num_conv * self.cutoff
        if not neighbor_norm > 0:
            raise ValueError(f"neighbor_norm must be above 0, got {neighbor_norm}")
        self.hidden_dim = hidden_dim
        act = activation_class(activation)
        # Small initial vectors make messages nearly a sum of one term per element, which generalizes to pairs
        # of elements that are not in the training set. Training starts faster than with PyTorch's std of 1.
        nn.init.normal_(self.elements.table.weight, std=0.3)
        self.basis = GaussianBasis(num_gaussians, self.cutoff)
        self.layers = nn.ModuleList(
            EGNNLayer(
                hidden_dim,
                num_gaussians,
                act,
                neighbor_norm,
                update_coords=update_coords and layer < num_conv - 1,
            )
            for layer in range(num_conv)
        )
        self.readout = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim), act(), nn.Linear(hidden_dim, output_dim)
        )

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        pairs = find_pairs(edges)
        rows = edge_rows(edges, pairs, self.hidden_dim)
        distances = pairs.first(edges.distances)
        attributes = self.basis(distances)
        envelope = polynomial_envelope(distances, self.cutoff).unsqueeze(-1)
        vectors = (edges.vectors / self.cutoff).index_select(0, rows.edge)
        h = self.elements(atomic_numbers)
        for layer in self.layers:
            h, vectors = layer(h, vectors, attributes, envelope, rows)
        points: Tensor = self.readout(h)
        return points


class EGNNLayer(nn.Module):
    """One layer of `EGNN`, eq. 3 to 6 of Satorras et al. 2021, for N atoms, E edges and P pairs.

    The first linear map of phi_e is the sum of a map of the center, a map of the neighbor and a map of the
    edge. The maps of center and neighbor are applied once per atom. The sum equals a linear map of the
    concatenated inputs, at a fraction of the cost.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_attributes: int,
        activation: type[nn.Module],
        neighbor_norm: float,
        *,
        update_coords: bool,
    ) -> None:
        super().__init__()
        self.neighbor_norm = neighbor_norm
        self.from_center = nn.Linear(hidden_dim, hidden_dim)
        self.from_neighbor = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.from_edge = nn.Linear(num_attributes + 1, hidden_dim, bias=False)
        # About two Gaussians are of order one at any distance, regardless of their number. PyTorch's default
        # weights shrink with that number. The network then hardly depends on distances, and training starts
        # slowly.
        nn.init.normal_(self.from_edge.weight, std=0.5)
        self.message = nn.Sequential(activation(), nn.Linear(hidden_dim, hidden_dim), activation())
        self.update = nn.Sequential(
            nn.Linear(2 * hidden_dim, hidden_dim), activation(), nn.Linear(hidden_dim, hidden_dim)
        )
        self.displace: nn.Sequential | None = None
        if update_coords:
            last = nn.Linear(hidden_dim, 1, bias=False)
            # As in the authors' code: the initial displacements are close to zero.
            nn.init.xavier_uniform_(last.weight, gain=1e-3)
            self.displace = nn.Sequential(nn.Linear(hidden_dim, hidden_dim), activation(), last)

    def forward(
        self, h: Tensor, vectors: Tensor, attributes: Tensor, envelope: Tensor, rows: EdgeRows
    ) -> tuple[Tensor, Tensor]:
        """Update the atom vectors and the edge vectors.

        Parameters
        ----------
        h
            Atom vectors, [N, F].
        vectors
            Edge vectors in units of the cutoff, [E, 3], in the order of `rows`.
        attributes
            Functions of the initial distance of each pair, [P, K].
        envelope
            Envelope of each pair, [P, 1].
        rows
            Edges and pairs in processing order.

        Returns
        -------
        tuple
            The updated `h` and `vectors`.
        """
        squared = vectors.index_select(0, rows.first).square().sum(dim=-1, keepdim=True)
        edge = self.from_edge(torch.cat((squared, attributes), dim=-1))
        weights = Weights(self.message.get_parameter("1.weight"), self.message.get_parameter("1.bias"))
        if self.displace is not None:
            third, bias, last = self.displace.parameters()
            weights = Weights(*weights[:2], third, bias, last[0])
        received, pulls = run_edge_network(
            self.from_center(h), self.from_neighbor(h), edge, envelope, weights, self.message[0], rows
        )
        received = received / self.neighbor_norm
        if pulls is not None:
            pull = vectors * pulls.unsqueeze(-1) * envelope[rows.pair]
            shift = vectors.new_zeros(h.shape[0], 3).index_add(0, rows.center, pull) / -self.neighbor_norm
            vectors = vectors + shift.index_select(0, rows.neighbor) - shift.index_select(0, rows.center)
        return h + self.update(torch.cat((h, received), dim=-1)), vectors
