"""Find the chains of two edges that models with angles need."""

from __future__ import annotations

import torch
from torch import Tensor

from mml_models.layers.edges import Edges

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
    center, neighbor, vectors = edges.center, edges.neighbor, edges.vectors.detach()
    num_edges = int(center.shape[0])
    order = center.argsort(stable=True)
    num_atoms = 0 if num_edges == 0 else int(torch.maximum(center.max(), neighbor.max())) + 1
    degree = torch.bincount(center, minlength=num_atoms)
    start = degree.cumsum(0) - degree
    count = degree[neighbor]
    second = torch.repeat_interleave(torch.arange(num_edges, device=center.device), count)
    place = torch.arange(len(second), device=center.device) - (count.cumsum(0) - count)[second]
    first = order[start[neighbor[second]] + place]
    gap = (vectors[second] + vectors[first]).abs().amax(dim=1)
    returns = (neighbor[first] == center[second]) & (gap < _SAME_PLACE)
    return second[~returns], first[~returns]
