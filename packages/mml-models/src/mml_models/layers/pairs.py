"""Pairs of opposite edges, which share functions of the distance, so that each is computed once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mml_models.layers.edges import Edges

_DIRECTION = (0.5403, 0.6180, 0.5711)
"""A direction that is not special in any lattice, so that images of an atom have different projections."""
_TOLERANCE = 1e-3
"""Angstrom. Far above the rounding error of float32 positions and far below the distance of two images."""


@dataclass(frozen=True)
class Pairs:
    """The P pairs of E directed edges. A pair is an edge and its reverse.

    Parameters
    ----------
    edges
        Indices [P] of the forward edges and indices [P] of their reverse edges. None if the edges were not
        matched; each of the E edges is then treated as a pair, and P = E.
    of_edge
        Index of the pair of each edge, [E] int64. None if the edges were not matched.
    """

    edges: tuple[Tensor, Tensor] | None
    of_edge: Tensor | None

    def first(self, values: Tensor) -> Tensor:
        """Return the rows of the forward edges, one per pair: [E, ...] -> [P, ...]."""
        return values if self.edges is None else values.index_select(0, self.edges[0])

    def spread(self, values: Tensor) -> Tensor:
        """Return the row of the pair of each edge: [P, ...] -> [E, ...]."""
        return values if self.of_edge is None else values.index_select(0, self.of_edge)


def find_pairs(edges: Edges) -> Pairs:
    """Match each edge with its reverse edge.

    Forward and reverse edges are sorted by their atoms and then by the projection of their vectors. After
    sorting, each forward edge must be the mirror image of the reverse edge in the same row. If this fails,
    every edge is treated as a pair; results are the same, at up to twice the cost. It fails for graphs with
    edges in one direction only, and if rounding puts only one edge of a pair within the cutoff.
    """
    center, neighbor, vectors = edges.center, edges.neighbor, edges.vectors.detach()
    num_edges = int(center.shape[0])
    if num_edges == 0 or num_edges % 2:
        return Pairs(None, None)
    along = (vectors.double() @ vectors.new_tensor(_DIRECTION, dtype=torch.float64)).nan_to_num()
    is_forth = (center < neighbor) | ((center == neighbor) & (along > 0))
    forth, back = is_forth.nonzero().squeeze(1), (~is_forth).nonzero().squeeze(1)
    if forth.shape != back.shape:
        return Pairs(None, None)
    low, high = torch.minimum(center, neighbor), torch.maximum(center, neighbor)
    signed = torch.where(is_forth, along, -along)
    # A single sort key: the integer part encodes the two atoms, the fraction encodes the projection.
    key = low * (high.max() + 1) + high + signed * (0.49 / signed.abs().max().clamp(min=1e-6))
    forth, back = forth[key[forth].argsort()], back[key[back].argsort()]
    mirrored = (
        (center[forth] == neighbor[back])
        & (neighbor[forth] == center[back])
        & ((vectors[forth] + vectors[back]).abs().amax(dim=1) < _TOLERANCE)
    )
    if not bool(mirrored.all()):
        return Pairs(None, None)
    of_edge = torch.empty_like(center)
    of_edge[forth] = of_edge[back] = torch.arange(num_edges // 2, device=center.device)
    return Pairs((forth, back), of_edge)
