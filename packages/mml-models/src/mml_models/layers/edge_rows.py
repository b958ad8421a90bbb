"""Order of the edges in which an edge network processes them: in slices that keep pairs together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mml_models.layers.edges import Edges
from mml_models.layers.pairs import Pairs

_NUMBERS_IN_A_SLICE = 2**18
"""Number of elements of each array in a slice, small enough for intermediate results to stay in the cache."""


@dataclass(frozen=True)
class EdgeRows:
    """E edges in processing order. The edges of a pair are in the same slice.

    Parameters
    ----------
    edge
        Index of the edge in each row, [E] int64.
    center, neighbor
        Atom indices of the edge in each row, [E] int64.
    pair
        Index of the pair of the edge in each row, [E] int64.
    first
        Row of the first edge of each pair, [P] int64.
    ways
        Number W of edges in a pair: 2, or 1 if the edges were not matched in pairs.
    length
        Number of pairs in a slice. A slice consists of `ways` blocks of that many rows.
    """

    edge: Tensor
    center: Tensor
    neighbor: Tensor
    pair: Tensor
    first: Tensor
    ways: int
    length: int

    def slices(self) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and the pairs of each slice."""
        num_pairs = self.first.shape[0]
        for start in range(0, num_pairs, self.length):
            end = min(start + self.length, num_pairs)
            yield slice(self.ways * start, self.ways * end), slice(start, end)


def edge_rows(edges: Edges, pairs: Pairs, width: int) -> EdgeRows:
    """Return the processing order of the edges for an edge network of the given width."""
    device = edges.center.device
    ways = list(pairs.edges or (torch.arange(edges.center.shape[0], device=device),))
    num_pairs = ways[0].shape[0]
    length = max(1, num_pairs)
    if device.type == "cpu":
        length = max(1, min(length, _NUMBERS_IN_A_SLICE // (len(ways) * width)))
    number = torch.arange(num_pairs, device=device)
    edge, pair = (_in_slices(parts, length) for parts in (ways, [number] * len(ways)))
    before = number // length * length
    first = number + (len(ways) - 1) * before
    return EdgeRows(edge, edges.center[edge], edges.neighbor[edge], pair, first, len(ways), length)


def _in_slices(ways: list[Tensor], length: int) -> Tensor:
    slices = zip(*(way.split(length) for way in ways), strict=True)
    return torch.cat([part for parts in slices for part in parts])


def by_pair(values: Tensor, rows: EdgeRows) -> Tensor:
    """Return a view [W, P, F] of the rows [R, F] of a slice, with one block per edge of a pair."""
    return values.view(rows.ways, -1, values.shape[1])


def times_(values: Tensor, factors: Tensor, rows: EdgeRows) -> Tensor:
    """Multiply the rows of a slice [R, F] by the factors [P, 1] of their pairs, in place."""
    by_pair(values, rows).mul_(factors)
    return values


def sum_of_pairs(values: Tensor, rows: EdgeRows) -> Tensor:
    """Sum the rows [R, 1] of a slice over the edges of each pair: [P, 1]."""
    return by_pair(values, rows).sum(dim=0)
