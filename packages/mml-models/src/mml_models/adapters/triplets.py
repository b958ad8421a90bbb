"""Find the chains of two edges that models with angles need."""

from __future__ import annotations

import torch
from torch import Tensor

from mml_models.edges import Edges

_SAME_PLACE = 1e-3
"""Angstrom. Far above the rounding error of float32 positions and far below the distance of two atoms."""


def find_triplets(edges: Edges) -> tuple[Tensor, Tensor]:
    """Find all chains k -> j -> i of two of the E edges, except those that return to their starting point.

    If k is another periodic image of atom i, the chain is included, as it would be in a supercell.

    Returns
    -------
    tuple
        Two int64 tensors [T]: the indices of the edges j -> i and of the edges k -> j. Edges point from the
        neighbor to the center.
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
