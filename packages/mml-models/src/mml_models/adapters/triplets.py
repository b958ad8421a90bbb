"""Chains of two edges: what a model with angles passes messages along."""

from __future__ import annotations

import torch
from torch import Tensor

from mml_models.edges import Edges

_SAME_PLACE = 1e-3
"""Angstrom: far above the rounding of float32 positions, far below the distance of two atoms."""


def find_triplets(edges: Edges) -> tuple[Tensor, Tensor]:
    """Find all chains k -> j -> i of two of E edges, but for those that return to where they began.

    An image of atom i other than i itself is another place: such a chain counts, as it would where the cell
    was repeated.

    Returns
    -------
    tuple
        Two int64 tensors [T]: the edge j -> i, and the edge k -> j, where edges go from neighbour to centre.
    """
    centre, neighbour, vectors = edges.centre, edges.neighbour, edges.vectors.detach()
    num_edges = int(centre.shape[0])
    order = centre.argsort(stable=True)
    num_atoms = 0 if num_edges == 0 else int(torch.maximum(centre.max(), neighbour.max())) + 1
    degree = torch.bincount(centre, minlength=num_atoms)
    start = degree.cumsum(0) - degree
    count = degree[neighbour]
    second = torch.repeat_interleave(torch.arange(num_edges, device=centre.device), count)
    place = torch.arange(len(second), device=centre.device) - (count.cumsum(0) - count)[second]
    first = order[start[neighbour[second]] + place]
    gap = (vectors[second] + vectors[first]).abs().amax(dim=1)
    returns = (neighbour[first] == centre[second]) & (gap < _SAME_PLACE)
    return second[~returns], first[~returns]
