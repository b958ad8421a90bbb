"""The two directed edges of a pair of atoms share a distance: what depends on it alone is computed once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mml_models.edges import Edges

_DIRECTION = (0.5403, 0.6180, 0.5711)
"""Of no lattice, so that the images of an atom project onto different numbers."""
_TOLERANCE = 1e-3
"""Angstrom: far above the rounding of float32 positions, far below the distance of two images."""


@dataclass(frozen=True)
class Pairs:
    """The P pairs of E directed edges.

    Parameters
    ----------
    edges
        Indices [P] of the edges that go forth, and of those that come back; None where edges do not come in
        pairs, so that each of the E edges stands for itself.
    of_edge
        [E] int64: the pair that each edge belongs to; None where each stands for itself.
    """

    edges: tuple[Tensor, Tensor] | None
    of_edge: Tensor | None

    def first(self, values: Tensor) -> Tensor:
        """Take from edges [E, ...] what their pairs share: [P, ...], that of the edges that go forth."""
        return values if self.edges is None else values.index_select(0, self.edges[0])

    def spread(self, values: Tensor) -> Tensor:
        """Give each edge the row of its pair: [P, ...] -> [E, ...]."""
        return values if self.of_edge is None else values.index_select(0, self.of_edge)


def find_pairs(edges: Edges) -> Pairs:
    """Match each edge with the one that comes back.

    Both kinds are sorted by their atoms, then by the projection of their vectors, and must then be each
    other's mirror, row by row. Where they are not (a graph with edges in one direction only, or an edge
    within rounding of the cutoff), every edge stands for itself: the same result, at up to twice the cost.
    """
    centre, neighbour, vectors = edges.centre, edges.neighbour, edges.vectors.detach()
    num_edges = int(centre.shape[0])
    if num_edges == 0 or num_edges % 2:
        return Pairs(None, None)
    along = (vectors.double() @ vectors.new_tensor(_DIRECTION, dtype=torch.float64)).nan_to_num()
    is_forth = (centre < neighbour) | ((centre == neighbour) & (along > 0))
    forth, back = is_forth.nonzero().squeeze(1), (~is_forth).nonzero().squeeze(1)
    if forth.shape != back.shape:
        return Pairs(None, None)
    low, high = torch.minimum(centre, neighbour), torch.maximum(centre, neighbour)
    signed = torch.where(is_forth, along, -along)
    # One number to sort by: the two atoms before the point, the projection after it.
    key = low * (high.max() + 1) + high + signed * (0.49 / signed.abs().max().clamp(min=1e-6))
    forth, back = forth[key[forth].argsort()], back[key[back].argsort()]
    mirrored = (
        (centre[forth] == neighbour[back])
        & (neighbour[forth] == centre[back])
        & ((vectors[forth] + vectors[back]).abs().amax(dim=1) < _TOLERANCE)
    )
    if not bool(mirrored.all()):
        return Pairs(None, None)
    of_edge = torch.empty_like(centre)
    of_edge[forth] = of_edge[back] = torch.arange(num_edges // 2, device=centre.device)
    return Pairs((forth, back), of_edge)
