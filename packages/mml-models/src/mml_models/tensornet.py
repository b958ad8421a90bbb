"""TensorNet: atoms have 3 x 3 tensor features, which matrix products combine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from mml_models.elements import ElementEmbedding
from mml_models.encoder import GraphEncoder, positive
from mml_models.layers.activations import SiLU
from mml_models.layers.convolution import convolve
from mml_models.layers.edges import Edges, GaussianBasis, cosine_envelope
from mml_models.layers.pairs import Pairs, find_pairs
from mml_models.layers.tensors import PARTS, anticommutator, direction_tensors, product, squared_norms


class TensorNet(GraphEncoder):
    """TensorNet of Simeon and De Fabritiis 2023 (arXiv 2306.06482) on periodic edges.

    Each atom has F tensors ``X`` [3, 3], each the sum of a scalar, an antisymmetric and a traceless symmetric
    part. The formulas use Gaussians ``g`` of the distance, the envelope
    ``u = (cos(pi d / cutoff) + 1) / 2``, linear maps ``L`` that mix the channels with separate weights for
    each part, and ``|X|^2 = tr(X^T X)``. The initial tensors are::

        X_i = sum_j (V [z_i, z_j] + v) * sum_k (W_k g(d_ij) + w_k) u(d_ij) T_k(r_ij / d_ij)
        X_i <- L(X_i), part k times phi_k(norm(|X_i|^2))

    The parts T_k are the unit matrix, ``[e]x`` and ``e e^T - 1 / 3``. A layer computes::

        X_i <- X_i / (1 + |X_i|^2)
        Y_i = L(X_i)
        M_i = sum_j Y_j, part k times f_k(g(d_ij)) u(d_ij)
        D_i = L((Y_i M_i + M_i Y_i) / (1 + |Y_i M_i + M_i Y_i|^2))
        X_i <- X_i + D_i + D_i D_i

    The embeddings are a function of the squared norms of the three parts, after layer normalization. The
    radial functions of the paper are evenly spaced in ``exp(-d)``, and half of them are centered below one
    angstrom. The Gaussians used here are evenly spaced in d.

    The tensors of an atom without neighbors are zero. All these atoms have the same embedding, regardless of
    their element. If they matter, use reference energies in the task. Under autocast to bfloat16, forces have
    errors of about 10 %, because each layer multiplies tensors three times. Train in float32, or measure the
    loss of accuracy first.

    Parameters
    ----------
    hidden_dim
        Number F of tensors per atom.
    output_dim
        Length of the embedding vectors.
    num_conv
        Number of layers. The receptive field is ``(num_conv + 1) * cutoff``, because the initial tensors
        already depend on the neighbors.
    num_gaussians
        Number of Gaussians in the expansion of a distance.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    num_atom_embedding
        Largest atomic number that can be embedded.
    group
        Symmetry group of the embeddings. With "O(3)", a crystal and its mirror image have the same
        embeddings. With "SO(3)", their embeddings differ; layers use ``2 Y_i M_i`` instead of
        ``Y_i M_i + M_i Y_i``.
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
        num_conv: int = 2,
        num_gaussians: int = 32,
        cutoff: float = 5.0,
        num_atom_embedding: int = 100,
        group: Literal["O(3)", "SO(3)"] = "O(3)",
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, output_dim=output_dim, num_conv=num_conv)
        positive(num_atom_embedding=num_atom_embedding)
        super().__init__(
            output_dim, cutoff, reduction, ElementEmbedding(hidden_dim, num_atom_embedding, elements)
        )
        self.receptive_field = (num_conv + 1) * self.cutoff
        if group not in ("O(3)", "SO(3)"):
            raise ValueError(f"group must be 'O(3)' or 'SO(3)', got {group!r}")
        self.group = group
        # These weights are small compared to the constant v, so that all elements are nearly equal at first.
        # This generalizes to pairs of elements that are not in the training set. Of all initial weights that
        # were tried, these learn forces fastest.
        nn.init.normal_(self.elements.table.weight, std=0.3)
        self.basis = GaussianBasis(num_gaussians, self.cutoff)
        self.embedding = TensorEmbedding(hidden_dim, num_gaussians)
        self.layers = nn.ModuleList(
            TensorLayer(hidden_dim, num_gaussians, mirrored=group == "O(3)") for _ in range(num_conv)
        )
        self.readout = nn.Sequential(
            nn.LayerNorm(3 * hidden_dim),
            nn.Linear(3 * hidden_dim, hidden_dim),
            SiLU(),
            nn.Linear(hidden_dim, output_dim),
        )

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        x = self.embed_tensors(atomic_numbers, edges)
        norms = torch.cat([squared_norms(part) for part in x.split(PARTS, dim=1)], dim=-1)
        points: Tensor = self.readout(norms)
        return points

    def embed_tensors(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Return the atom tensors [N, 9, hidden_dim], as components in the basis `tensors.basis_matrices`."""
        pairs = find_pairs(edges)
        distances = pairs.first(edges.distances)
        gaussians = self.basis(distances)
        envelope = cosine_envelope(distances, self.cutoff).unsqueeze(-1)
        x: Tensor = self.embedding(
            self.elements(atomic_numbers), atomic_numbers, gaussians, envelope, edges, pairs
        )
        for layer in self.layers:
            x = layer(x, gaussians, envelope, edges, pairs)
        return x


class TensorEmbedding(nn.Module):
    """Initial atom tensors of `TensorNet`, for N atoms, E edges and P pairs.

    The mixing of the radial functions is linear. The radial functions of all neighbors of the same element
    are therefore summed first, and mixed once per atom and neighboring element instead of once per edge.
    """

    def __init__(self, hidden_dim: int, num_gaussians: int) -> None:
        super().__init__()
        self.from_center = nn.Linear(hidden_dim, hidden_dim)
        nn.init.normal_(self.from_center.bias)
        self.from_neighbor = nn.Linear(hidden_dim, hidden_dim, bias=False)
        # The last input is 1 (times the envelope), so its weights are the biases.
        self.radial = nn.ModuleList(
            _linear(num_gaussians + 1, hidden_dim, std=0.1, bias=False) for _ in PARTS
        )
        self.mix = PartwiseLinear(hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)
        self.gates = _activated_layers(hidden_dim, 2 * hidden_dim, 3 * hidden_dim)

    def forward(
        self,
        elements: Tensor,
        atomic_numbers: Tensor,
        gaussians: Tensor,
        envelope: Tensor,
        edges: Edges,
        pairs: Pairs,
    ) -> Tensor:
        """Return the tensors [N, 9, F], given `elements` [N, F], `gaussians` [P, K] and `envelope` [P, 1]."""
        radial = torch.cat((gaussians * envelope, envelope), dim=-1)
        directions = edges.vectors / edges.distances.clamp(min=1e-6).unsqueeze(-1)
        tensors = direction_tensors(directions)
        # M groups of edges: a group contains the edges from one center to its neighbors of one element.
        key = edges.center * (atomic_numbers.max() + 1) + atomic_numbers[edges.neighbor]
        groups, group = key.unique(return_inverse=True)
        member = torch.empty_like(groups).scatter_(0, group, torch.arange(len(key), device=key.device))
        center, neighbor = edges.center[member], edges.neighbor[member]
        sums = tensors.new_zeros(len(groups), 9, radial.shape[1]).index_add(
            0, group, tensors.unsqueeze(-1) * pairs.spread(radial).unsqueeze(1)
        )
        mixed = torch.cat(
            [linear(part) for linear, part in zip(self.radial, sums.split(PARTS, dim=1), strict=True)], dim=1
        )
        ends = self.from_center(elements).index_select(0, center)
        ends = ends + self.from_neighbor(elements).index_select(0, neighbor)
        messages = ends.unsqueeze(1) * mixed
        x = messages.new_zeros(elements.shape[0], 9, ends.shape[1]).index_add(0, center, messages)
        gates = self.gates(self.norm(squared_norms(x))).unflatten(-1, (3, -1))
        return self.mix(x) * _spread_parts(gates)


class TensorLayer(nn.Module):
    """One layer of `TensorNet`, for N atoms, E edges and P pairs."""

    def __init__(self, hidden_dim: int, num_gaussians: int, *, mirrored: bool) -> None:
        super().__init__()
        self.mirrored = mirrored
        self.filter = nn.Sequential(
            # About two Gaussians are of order one at any distance, regardless of their number.
            _linear(num_gaussians, hidden_dim, std=0.8),
            SiLU(),
            *_activated_layers(hidden_dim, 2 * hidden_dim, 3 * hidden_dim),
        )
        self.mix = PartwiseLinear(hidden_dim)
        self.update = PartwiseLinear(hidden_dim)

    def forward(self, x: Tensor, gaussians: Tensor, envelope: Tensor, edges: Edges, pairs: Pairs) -> Tensor:
        """Return the updated tensors `x` [N, 9, F], given `gaussians` [P, K] and `envelope` [P, 1]."""
        x = _bounded(x)
        y = self.mix(x)
        filters = (self.filter(gaussians) * envelope).unflatten(-1, (3, -1))
        received = convolve(y, filters, edges, pairs, PARTS)
        mixed = anticommutator(y, received) if self.mirrored else 2.0 * product(y, received)
        change = self.update(_bounded(mixed))
        return x + change + product(change, change)


class PartwiseLinear(nn.Module):
    """Mix the F channels of tensors [N, 9, F], with separate weights for each of the three parts."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            _linear(hidden_dim, hidden_dim, std=hidden_dim**-0.5, bias=False) for _ in PARTS
        )

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of `x` [N, 9, F]."""
        parts = x.split(PARTS, dim=1)
        return torch.cat([linear(part) for linear, part in zip(self.maps, parts, strict=True)], dim=1)


def _activated_layers(*widths: int) -> nn.Sequential:
    """Return linear layers, each followed by `SiLU`, whose initial weights preserve the size of their input.

    Tensors are multiplied by each other and by the outputs of these layers. PyTorch's default weights shrink
    their input, so that the layers of a new network would change the tensors only in the fourth digit.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [_linear(before, after, std=1.6 * before**-0.5), SiLU()]
    return nn.Sequential(*layers)


def _linear(before: int, after: int, *, std: float, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(before, after, bias=bias)
    nn.init.normal_(linear.weight, std=std)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def _bounded(x: Tensor) -> Tensor:
    return x / (1.0 + squared_norms(x)).unsqueeze(1)


def _spread_parts(gates: Tensor) -> Tensor:
    """Repeat the gate of each part for all components of the part: [N, 3, F] -> [N, 9, F]."""
    return torch.cat([gates[:, k : k + 1].expand(-1, count, -1) for k, count in enumerate(PARTS)], dim=1)
