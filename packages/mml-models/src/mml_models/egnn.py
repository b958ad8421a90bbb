"""EGNN: messages along edges whose vectors move with learned, equivariant displacements of the atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mml_models.activations import activation_class
from mml_models.edge_network import Weights, run_edge_network
from mml_models.edge_rows import EdgeRows, edge_rows
from mml_models.edges import Edges, GaussianBasis, polynomial_envelope
from mml_models.elements import ElementEmbedding
from mml_models.encoder import GraphEncoder, positive
from mml_models.pairs import find_pairs


class EGNN(GraphEncoder):
    """E(n)-equivariant graph network of Satorras et al. 2021 (arXiv 2102.09844) on periodic edges.

    Layer l with edge vectors ``r_ij``, which start as ``x_j + offset_ij - x_i``, and envelope ``u_ij`` (eq.
    3-6)::

        m_ij = phi_e(h_i, h_j, |r_ij|^2 / cutoff^2, a_ij) u_ij
        x_i <- x_i + sum_j (x_i - x_j - offset_ij) phi_x(m_ij) u_ij / C
        m_i = sum_j m_ij / C
        h_i <- h_i + phi_h(h_i, m_i)

    with four choices that the paper leaves open. The edge attributes ``a_ij`` are Gaussians of the first
    distance: a squared distance alone resolves the shells of a crystal badly. ``u_ij`` is the polynomial
    envelope of the first distance, so that energies and forces stay continuous where edges come and go. C
    is a constant, not the number of neighbours, which jumps. The displacements of the atoms are carried
    along, so that ``r_ij`` of later layers is ``r_ij + dx_j - dx_i`` whatever cell the atoms are described
    in; the last layer has none, as nothing would see it.

    Parameters
    ----------
    hidden_dim
        Width of atom vectors and messages.
    output_dim
        Length of the embeddings.
    num_conv
        Number of layers.
    num_atom_embedding
        The largest atomic number that can be embedded.
    activation
        A twice differentiable one: "GELU", "Mish", "SiLU", "Softplus" or "Tanh".
    cutoff
        Angstrom; edges as long as this or longer contribute nothing.
    num_gaussians
        Number of Gaussians that a distance is expanded in.
    neighbour_norm
        The constant C that sums over neighbours are divided by; about the root of the number of neighbours
        keeps vectors of order one.
    update_coords
        Whether atoms are displaced between layers. Without, the network sees distances only, and is cheaper.
    reduction
        How atoms are pooled into `system_embedding`: "sum" or "mean".
    elements
        Atomic numbers to accept; all up to `num_atom_embedding` where None.

    Raises
    ------
    ValueError
        Where a size is not positive, or an option is not known.
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
        neighbour_norm: float = 6.0,
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
        if not neighbour_norm > 0:
            raise ValueError(f"neighbour_norm is {neighbour_norm}: give a number above 0.")
        self.hidden_dim = hidden_dim
        act = activation_class(activation)
        # Small, so that messages begin as nearly a term of the one element plus a term of the other, which
        # carries over to pairs that were not trained. Learns sooner than PyTorch's 1.
        nn.init.normal_(self.elements.table.weight, std=0.3)
        self.basis = GaussianBasis(num_gaussians, self.cutoff)
        self.layers = nn.ModuleList(
            EGNNLayer(
                hidden_dim,
                num_gaussians,
                act,
                neighbour_norm,
                update_coords=update_coords and layer < num_conv - 1,
            )
            for layer in range(num_conv)
        )
        self.readout = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim), act(), nn.Linear(hidden_dim, output_dim)
        )

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed atoms: `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
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
    """One layer of `EGNN`: eq. 3 to 6 of Satorras et al. 2021, for N atoms, E edges and P pairs.

    The first linear map of phi_e is the sum of three: of the centre, of the neighbour (both applied once an
    atom) and of the edge, which is the same map as on the concatenation at a fraction of the cost.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_attributes: int,
        activation: type[nn.Module],
        neighbour_norm: float,
        *,
        update_coords: bool,
    ) -> None:
        super().__init__()
        self.neighbour_norm = neighbour_norm
        self.from_centre = nn.Linear(hidden_dim, hidden_dim)
        self.from_neighbour = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.from_edge = nn.Linear(num_attributes + 1, hidden_dim, bias=False)
        # About two of the Gaussians are of order one, however many there are. PyTorch's default, which
        # shrinks with their number, leaves the network so deaf to distance that training is slow to start.
        nn.init.normal_(self.from_edge.weight, std=0.5)
        self.message = nn.Sequential(activation(), nn.Linear(hidden_dim, hidden_dim), activation())
        self.update = nn.Sequential(
            nn.Linear(2 * hidden_dim, hidden_dim), activation(), nn.Linear(hidden_dim, hidden_dim)
        )
        self.displace: nn.Sequential | None = None
        if update_coords:
            last = nn.Linear(hidden_dim, 1, bias=False)
            # As in the authors' code: atoms begin almost where they are.
            nn.init.xavier_uniform_(last.weight, gain=1e-3)
            self.displace = nn.Sequential(nn.Linear(hidden_dim, hidden_dim), activation(), last)

    def forward(
        self, h: Tensor, vectors: Tensor, attributes: Tensor, envelope: Tensor, rows: EdgeRows
    ) -> tuple[Tensor, Tensor]:
        """Update atom vectors and edge vectors.

        Parameters
        ----------
        h
            [N, F], atoms.
        vectors
            [E, 3], edges by rows, in units of the cutoff.
        attributes
            [P, K], functions of the first distance of each pair.
        envelope
            [P, 1].
        rows
            The edges and their pairs.

        Returns
        -------
        tuple
            `h` and `vectors` of the next layer.
        """
        squared = vectors.index_select(0, rows.first).square().sum(dim=-1, keepdim=True)
        edge = self.from_edge(torch.cat((squared, attributes), dim=-1))
        weights = Weights(self.message.get_parameter("1.weight"), self.message.get_parameter("1.bias"))
        if self.displace is not None:
            third, bias, last = self.displace.parameters()
            weights = Weights(*weights[:2], third, bias, last[0])
        received, pulls = run_edge_network(
            self.from_centre(h), self.from_neighbour(h), edge, envelope, weights, self.message[0], rows
        )
        received = received / self.neighbour_norm
        if pulls is not None:
            pull = vectors * pulls.unsqueeze(-1) * envelope[rows.pair]
            shift = vectors.new_zeros(h.shape[0], 3).index_add(0, rows.centre, pull) / -self.neighbour_norm
            vectors = vectors + shift.index_select(0, rows.neighbour) - shift.index_select(0, rows.centre)
        return h + self.update(torch.cat((h, received), dim=-1)), vectors
