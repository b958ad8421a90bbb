"""MEGNet: atoms, bonds and structures have feature vectors that update one another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from mml_samples import Batch
from torch import Tensor, nn

from mml_models.batch import AtomGraph, read_graph
from mml_models.elements import ElementEmbedding
from mml_models.embeddings import Embeddings
from mml_models.encoder import check_cutoff_and_reduction, check_radius, pool, positive
from mml_models.layers.activations import ShiftedSoftplus
from mml_models.layers.edges import Edges, GaussianBasis, edges_within, polynomial_envelope
from mml_models.layers.pairs import find_pairs
from mml_models.layers.set2set import Set2Set


class MEGNet(nn.Module):
    """MatErials Graph Network of Chen et al. 2019 (arXiv 1812.05055) on periodic edges.

    Atoms have vectors v, edges have vectors e and structures have vectors s. A block first applies two
    separate layers to each of them. It then computes, with three-layer networks phi (eq. 1 to 6)::

        e_ij <- e_ij + phi_e(v_i, v_j, e_ij, s)
        v_i <- v_i + phi_v(mean_j e_ij, v_i, s)
        s <- s + phi_s(mean_ij e_ij, mean_i v_i, s)

    The means contain the output of phi_e, not the updated e_ij, and likewise the output of phi_v. Every
    activation is the shifted softplus, which is zero at zero.

    The paper averages over edges. Here, each edge is weighted by the polynomial envelope of its distance, and
    the sum is divided by a constant number of neighbors. Energies and forces are therefore continuous when
    edges appear or disappear. The mean over the edges of a structure is computed as the mean of these sums
    over its atoms.

    Through s, every atom of a structure depends on every other atom. Energies are not sums of local terms,
    and two distant molecules in one structure affect each other. If that matters, use another encoder.

    Parameters
    ----------
    hidden_dim
        Width F of the vectors of atoms, edges and structures. Hidden layers have the width 2 F.
    output_dim
        Length of the embedding vectors.
    num_conv
        Number of blocks.
    num_gaussians
        Number of Gaussians in the expansion of a distance.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    neighbor_norm
        Constant by which sums over neighbors are divided.
    num_atom_embedding
        Largest atomic number that can be embedded.
    reduction
        Computation of `system_embedding`: the "sum" or the "mean" of `point_embedding`, or "set2set", the
        readout of the paper from atoms, edges and s. "mean" and "set2set" do not grow with the structure.
    elements
        Accepted atomic numbers. None accepts 1 to `num_atom_embedding`.

    Raises
    ------
    ValueError
        If a size is not positive or an option is invalid.
    """

    def __init__(
        self,
        hidden_dim: int = 32,
        output_dim: int = 64,
        num_conv: int = 3,
        num_gaussians: int = 32,
        cutoff: float = 5.0,
        neighbor_norm: float = 12.0,
        num_atom_embedding: int = 100,
        reduction: Literal["sum", "mean", "set2set"] = "sum",
        elements: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        positive(hidden_dim=hidden_dim, output_dim=output_dim, num_conv=num_conv)
        positive(num_atom_embedding=num_atom_embedding)
        if reduction not in ("sum", "mean", "set2set"):
            raise ValueError(f"reduction must be 'sum', 'mean' or 'set2set', got {reduction!r}")
        check_cutoff_and_reduction(cutoff, "sum")
        if not neighbor_norm > 0:
            raise ValueError(f"neighbor_norm must be above 0, got {neighbor_norm}")
        self.output_dim = output_dim
        self.cutoff = float(cutoff)
        self.reduction = reduction
        self.neighbor_norm = neighbor_norm
        self.elements = ElementEmbedding(hidden_dim, num_atom_embedding, elements)
        self.basis = GaussianBasis(num_gaussians, self.cutoff)
        self.embed_edge = _layers(num_gaussians, 2 * hidden_dim, hidden_dim)
        # The initial s is learned. In the paper it is zero, and a layer maps zero to its bias.
        self.state = nn.Parameter(0.1 * torch.randn(hidden_dim))
        self.blocks = nn.ModuleList(MEGNetBlock(hidden_dim) for _ in range(num_conv))
        self.readout = nn.Sequential(*_layers(2 * hidden_dim, hidden_dim), nn.Linear(hidden_dim, output_dim))
        if reduction == "set2set":
            self.read_atoms, self.read_edges = Set2Set(hidden_dim), Set2Set(hidden_dim)
            self.join = nn.Linear(5 * hidden_dim, output_dim)

    def forward(self, batch: Batch) -> Embeddings:
        """Embed a batch of B structures with N atoms in total.

        Raises
        ------
        ValueError
            If the graph is incomplete, contains an element that the encoder does not accept, or was built
            with a radius below the encoder's cutoff.
        TypeError
            If the batch is not a mapping, or the graph is not a PyG or DGL graph.
        """
        graph = read_graph(batch)
        self.elements.check(graph, batch)
        check_radius(batch, self.cutoff)
        edges = edges_within(graph, self.cutoff, self.elements.table.weight.dtype)
        pairs = find_pairs(edges)
        distances = pairs.first(edges.distances)
        e = pairs.spread(self.embed_edge(self.basis(distances)))
        weights = pairs.spread(polynomial_envelope(distances, self.cutoff).unsqueeze(-1))
        v = self.elements(graph.atomic_numbers)
        s = self.state.expand(graph.num_structures, -1)
        for block in self.blocks:
            v, e, s = block(v, e, s, weights / self.neighbor_norm, edges, graph)
        points = self.readout(torch.cat((v, s.index_select(0, graph.structure)), dim=-1))
        if self.reduction != "set2set":
            return Embeddings(pool(points, graph, self.reduction), points)
        counts = torch.bincount(graph.structure, minlength=graph.num_structures).to(v.dtype)
        of_atoms = self.read_atoms(v, graph.structure, torch.ones_like(v[:, 0]), torch.zeros_like(counts))
        owner = graph.structure.index_select(0, edges.center)
        of_edges = self.read_edges(e, owner, weights.squeeze(-1), counts)
        return Embeddings(self.join(torch.cat((of_atoms, of_edges, s), dim=-1)), points)


class MEGNetBlock(nn.Module):
    """One block of `MEGNet`, for N atoms, E edges and B structures."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        wide = 2 * hidden_dim
        self.prepare = nn.ModuleList(_layers(hidden_dim, wide, hidden_dim) for _ in range(3))
        # The first layer of phi_e is a sum of one linear map per input: the same function at a lower cost.
        self.from_center = nn.Linear(hidden_dim, wide)
        self.from_neighbor = nn.Linear(hidden_dim, wide, bias=False)
        self.from_edge = nn.Linear(hidden_dim, wide, bias=False)
        self.from_state = nn.Linear(hidden_dim, wide, bias=False)
        for part in (self.from_center, self.from_neighbor, self.from_edge, self.from_state):
            _initialize(part, summands=4)
        self.edge = nn.Sequential(ShiftedSoftplus(), _layers(wide, wide, hidden_dim))
        self.atom = _layers(3 * hidden_dim, wide, wide, hidden_dim)
        self.whole = _layers(3 * hidden_dim, wide, wide, hidden_dim)

    def forward(
        self, v: Tensor, e: Tensor, s: Tensor, weights: Tensor, edges: Edges, graph: AtomGraph
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the updated vectors of atoms [N, F], edges [E, F] and structures [B, F].

        `weights` [E, 1] are the weights of the edges in the sums over neighbors.
        """
        v_in, e_in, s_in = (layers(x) for layers, x in zip(self.prepare, (v, e, s), strict=True))
        center = self.from_center(v_in) + self.from_state(s_in).index_select(0, graph.structure)
        messages = self.edge(
            center.index_select(0, edges.center)
            + self.from_neighbor(v_in).index_select(0, edges.neighbor)
            + self.from_edge(e_in)
        )
        weighted = messages * weights
        received = weighted.new_zeros(v.shape[0], e.shape[1]).index_add(0, edges.center, weighted)
        own = s_in.index_select(0, graph.structure)
        atoms = self.atom(torch.cat((received, v_in, own), dim=-1))
        means = (pool(received, graph, "mean"), pool(atoms, graph, "mean"), s_in)
        return v + atoms, e + messages, s + self.whole(torch.cat(means, dim=-1))


def _layers(*widths: int) -> nn.Sequential:
    steps = [
        step
        for width_in, width_out in pairwise(widths)
        for step in (_initialize(nn.Linear(width_in, width_out)), ShiftedSoftplus())
    ]
    return nn.Sequential(*steps)


def _initialize(linear: nn.Linear, summands: int = 1) -> nn.Linear:
    """Draw initial weights that preserve the size of the input through a layer and a shifted softplus.

    `summands` is the number of layers whose outputs are added before the softplus. The softplus maps numbers
    of variance 1 to a mean square of 0.28. At least eleven softplus layers lie between a distance and an
    energy. With PyTorch's default weights the energy hardly depends on distances, and forces are not learned.
    """
    nn.init.normal_(linear.weight, std=(0.28 * linear.in_features * summands) ** -0.5)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear
