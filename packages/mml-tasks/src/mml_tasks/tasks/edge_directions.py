"""Directions, lengths and envelopes of the edges of a graph, for heads that predict along edges."""

from __future__ import annotations

from typing import NamedTuple

import torch
from mml_samples import Graph
from torch import Tensor


class EdgeDirections(NamedTuple):
    """Edges of a graph, E in total.

    Attributes
    ----------
    center, neighbor
        Indices of the atoms, [E].
    unit
        Unit vector from the center to the neighbor, [E, 3]; zero for an edge of length zero.
    radial
        Gaussians of the length, [E, R].
    envelope
        ``(1 - (d / cutoff)**2)**3``, which vanishes at the cutoff, [E, 1].
    """

    center: Tensor
    neighbor: Tensor
    unit: Tensor
    radial: Tensor
    envelope: Tensor


def edge_directions(graph: Graph, cutoff: float, centers: Tensor) -> EdgeDirections:
    """Return the directions of all edges.

    Parameters
    ----------
    graph
        Graph with ``pos``, ``edge_index`` and optionally ``offsets``.
    cutoff
        Length at which the envelope vanishes, in angstrom.
    centers
        Centers of the Gaussians in units of the cutoff, [R], evenly spaced from 0 to 1.

    Raises
    ------
    ValueError
        If the graph has no positions or no edges.
    """
    pos, edges = getattr(graph, "pos", None), getattr(graph, "edge_index", None)
    if pos is None or edges is None:
        raise ValueError(
            "the graph of the batch has no 'pos' or no 'edge_index', along which vectors are predicted. "
            "Create graphs with PeriodicPropertiesTransform and PointCloudToGraphTransform"
        )
    center, neighbor = edges
    between = pos[neighbor] - pos[center]
    if getattr(graph, "offsets", None) is not None:
        between = between + graph.offsets
    distance = between.norm(dim=-1, keepdim=True)
    scaled = distance / cutoff
    radial = torch.exp(-(((scaled - centers) * len(centers)) ** 2) / 2)
    envelope = (1 - scaled**2).clamp(min=0) ** 3
    return EdgeDirections(center, neighbor, between / distance.clamp(min=1e-12), radial, envelope)
