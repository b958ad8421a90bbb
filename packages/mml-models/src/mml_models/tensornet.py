"""TensorNet: atoms carry 3 x 3 tensors, which are mixed by matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from mml_models.activations import SiLU
from mml_models.convolution import convolve
from mml_models.edges import Edges, GaussianBasis, cosine_envelope
from mml_models.elements import ElementEmbedding
from mml_models.encoder import GraphEncoder, positive
from mml_models.pairs import Pairs, find_pairs
from mml_models.tensors import PARTS, anticommutator, direction_tensors, product, squared_norms


class TensorNet(GraphEncoder):
    """TensorNet of Simeon and De Fabritiis 2023 (arXiv 2306.06482) on periodic edges.

    Atoms carry F tensors ``X`` [3, 3], seen as the sum of a scalar, an antisymmetric and a traceless
    symmetric part. With Gaussians ``g`` of the distance, the envelope ``u = (cos(pi d / cutoff) + 1) / 2``,
    maps ``L`` that mix the channels of each part with weights of its own, and ``|X|^2 = tr(X^T X)``, atoms
    begin with::

        X_i = sum_j (V [z_i, z_j] + v) * sum_k (W_k g(d_ij) + w_k) u(d_ij) T_k(r_ij / d_ij)
        X_i <- L(X_i), part k times phi_k(norm(|X_i|^2))

    where the parts T_k are the unit matrix, ``[e]x`` and ``e e^T - 1 / 3``. A layer sends::

        X_i <- X_i / (1 + |X_i|^2)
        Y_i = L(X_i)
        M_i = sum_j Y_j, part k times f_k(g(d_ij)) u(d_ij)
        D_i = L((Y_i M_i + M_i Y_i) / (1 + |Y_i M_i + M_i Y_i|^2))
        X_i <- X_i + D_i + D_i D_i

    What comes out is a function of the normalised squared norms of the three parts. The paper's radial
    functions are evenly spaced in ``exp(-d)``, half of them below an angstrom; Gaussians are so in d.

    Atoms without neighbours have no tensor: all get the same embedding, of whatever element. Give the task
    reference energies where such atoms matter. Under autocast to bfloat16 forces are off by some 10 %, as
    each layer multiplies tensors with one another three times: train in float32, or look at what it costs.

    Parameters
    ----------
    hidden_dim
        Number F of tensors an atom.
    output_dim
        Length of the embeddings.
    num_conv
        Number of layers. Atoms see as far as ``(num_conv + 1) * cutoff``: they begin with their neighbours.
    num_gaussians
        Number of Gaussians that a distance is expanded in.
    cutoff
        Angstrom; edges as long as this or longer contribute nothing.
    num_atom_embedding
        The largest atomic number that can be embedded.
    group
        "O(3)": embeddings are the same for a crystal and for its mirror image. "SO(3)": they tell left from
        right, with ``2 Y_i M_i`` in place of ``Y_i M_i + M_i Y_i``.
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
            raise ValueError(f"group is {group!r}: give 'O(3)' or 'SO(3)'.")
        self.group = group
        # Small beside the constant v, so that atoms begin as nearly the same for all elements, which carries
        # over to pairs that were not trained: of the first weights that were tried, forces learn soonest.
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
        """Embed atoms: `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        x = self.embed_tensors(atomic_numbers, edges)
        norms = torch.cat([squared_norms(part) for part in x.split(PARTS, dim=1)], dim=-1)
        points: Tensor = self.readout(norms)
        return points

    def embed_tensors(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Return the tensors of atoms, [N, 9, hidden_dim], as components on `tensors.basis_matrices`."""
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
    """The tensors that atoms of `TensorNet` begin with, for N atoms, E edges and P pairs.

    Neighbours of the same element are summed up before their radial functions are mixed, which is linear:
    the mixing is then done once for each element around an atom, not for each of its edges.
    """

    def __init__(self, hidden_dim: int, num_gaussians: int) -> None:
        super().__init__()
        self.from_centre = nn.Linear(hidden_dim, hidden_dim)
        nn.init.normal_(self.from_centre.bias)
        self.from_neighbour = nn.Linear(hidden_dim, hidden_dim, bias=False)
        # The last of the inputs is one: its weights are the biases.
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
        """Return [N, 9, F], given `elements` [N, F], `gaussians` [P, K] and `envelope` [P, 1]."""
        radial = torch.cat((gaussians * envelope, envelope), dim=-1)
        directions = edges.vectors / edges.distances.clamp(min=1e-6).unsqueeze(-1)
        tensors = direction_tensors(directions)
        # M groups of edges: those of a centre to the neighbours of one element.
        key = edges.centre * (atomic_numbers.max() + 1) + atomic_numbers[edges.neighbour]
        groups, group = key.unique(return_inverse=True)
        member = torch.empty_like(groups).scatter_(0, group, torch.arange(len(key), device=key.device))
        centre, neighbour = edges.centre[member], edges.neighbour[member]
        sums = tensors.new_zeros(len(groups), 9, radial.shape[1]).index_add(
            0, group, tensors.unsqueeze(-1) * pairs.spread(radial).unsqueeze(1)
        )
        mixed = torch.cat(
            [linear(part) for linear, part in zip(self.radial, sums.split(PARTS, dim=1), strict=True)], dim=1
        )
        ends = self.from_centre(elements).index_select(0, centre)
        ends = ends + self.from_neighbour(elements).index_select(0, neighbour)
        messages = ends.unsqueeze(1) * mixed
        x = messages.new_zeros(elements.shape[0], 9, ends.shape[1]).index_add(0, centre, messages)
        gates = self.gates(self.norm(squared_norms(x))).unflatten(-1, (3, -1))
        return self.mix(x) * _spread_parts(gates)


class TensorLayer(nn.Module):
    """A layer of `TensorNet`, for N atoms, E edges and P pairs."""

    def __init__(self, hidden_dim: int, num_gaussians: int, *, mirrored: bool) -> None:
        super().__init__()
        self.mirrored = mirrored
        self.filter = nn.Sequential(
            # About two of the Gaussians are of order one, however many there are.
            _linear(num_gaussians, hidden_dim, std=0.8),
            SiLU(),
            *_activated_layers(hidden_dim, 2 * hidden_dim, 3 * hidden_dim),
        )
        self.mix = PartwiseLinear(hidden_dim)
        self.update = PartwiseLinear(hidden_dim)

    def forward(self, x: Tensor, gaussians: Tensor, envelope: Tensor, edges: Edges, pairs: Pairs) -> Tensor:
        """Update tensors `x` [N, 9, F], given `gaussians` [P, K] and `envelope` [P, 1]."""
        x = _bounded(x)
        y = self.mix(x)
        filters = (self.filter(gaussians) * envelope).unflatten(-1, (3, -1))
        received = convolve(y, filters, edges, pairs, PARTS)
        mixed = anticommutator(y, received) if self.mirrored else 2.0 * product(y, received)
        change = self.update(_bounded(mixed))
        return x + change + product(change, change)


class PartwiseLinear(nn.Module):
    """Mix the F channels of tensors [N, 9, F], with weights of their own for each of the three parts."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            _linear(hidden_dim, hidden_dim, std=hidden_dim**-0.5, bias=False) for _ in PARTS
        )

    def forward(self, x: Tensor) -> Tensor:
        """Mix `x` [N, 9, F]."""
        parts = x.split(PARTS, dim=1)
        return torch.cat([linear(part) for linear, part in zip(self.maps, parts, strict=True)], dim=1)


def _activated_layers(*widths: int) -> nn.Sequential:
    """Linear maps, each followed by an activation that begins with outputs as large as its inputs.

    Tensors are multiplied by each other and by these outputs: with PyTorch's defaults, which shrink numbers
    at each step, the layers of a new network would change its tensors in the fourth digit.
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
    """Repeat what belongs to a part for each of its components: [N, 3, F] -> [N, 9, F]."""
    return torch.cat([gates[:, k : k + 1].expand(-1, count, -1) for k, count in enumerate(PARTS)], dim=1)
