"""Add nodes to a graph that represent many atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mml_samples import Sample

from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.transforms._arrays import positions
from mml_graphs.transforms._edge_geometry import GRAPH_SUPER_NODE, nearest_images, periodicity, reduced_masses
from mml_graphs.transforms._rewiring import EDGE_KEYS, Rewiring, rewired_sample


class SuperNode(NamedTuple):
    """A node to add to a graph.

    Attributes
    ----------
    tag, atomic_number
        Tag and atomic number of the node. The number is an index of the model's embedding, beyond those of
        elements.
    members
        [M] int64, atoms that the node represents.
    neighbors
        [K] int64, atoms to which the node is connected.
    """

    tag: int
    atomic_number: int
    members: torch.Tensor
    neighbors: torch.Tensor


def with_super_nodes(
    sample: Sample, data: GraphData, tags: torch.Tensor, added: Sequence[SuperNode]
) -> Sample:
    """Return a copy of the sample with new nodes and edges, which follow the existing ones.

    In every float array, the value of a new node is the mean over its members (for positions, as they are
    stored). Its ``fixed`` is 1, and it has its own tag and atomic number. It is connected to the nearest
    periodic image of each of its neighbors, in both directions.

    Parameters
    ----------
    sample
        Sample with a graph. It is not changed.
    data
        Parts of the graph.
    tags
        [N], tags of the nodes.
    added
        Nodes to add.

    Raises
    ------
    ValueError
        If an array of atoms is neither a float array nor one of ``atomic_numbers``, ``tags`` and ``fixed``,
        or an array of edges is not a length, translation or reduced mass, so that the new rows have no
        defined value.
    """
    num_atoms = len(tags)
    names = {
        "tags": [node.tag for node in added],
        "atomic_numbers": [node.atomic_number for node in added],
        "fixed": [1] * len(added),
    }

    def nodes(key: str, rows: torch.Tensor) -> torch.Tensor:
        if key in names:
            new = torch.tensor(names[key], device=rows.device).to(rows.dtype)
        elif rows.is_floating_point():
            new = torch.stack([rows[node.members].mean(dim=0) for node in added])
        else:
            raise ValueError(
                f"{key!r} has dtype {rows.dtype}, expected floats, whose mean becomes the value of a "
                "super node. "
                "Remove it from the graph and the sample."
            )
        return torch.cat([rows, new])

    src = torch.cat([node.neighbors for node in added])
    dst = torch.cat([torch.full_like(node.neighbors, num_atoms + i) for i, node in enumerate(added)])
    pos = nodes("pos", positions(data.nodes))
    values = _edge_values(data, tags, pos, src, dst)

    def edges(key: str, rows: torch.Tensor) -> torch.Tensor:
        if key not in values:
            raise ValueError(
                f"edge key {key!r} is undefined for the edges of super nodes, expected only "
                f"{sorted(EDGE_KEYS)}. Remove it from the graph."
            )
        return torch.cat([rows, values[key].to(rows)])

    rewiring = Rewiring(
        nodes,
        edges,
        src=torch.cat([data.src, dst, src]),
        dst=torch.cat([data.dst, src, dst]),
        num_atoms=num_atoms + len(added),
    )
    return rewired_sample(sample, data, rewiring)


def _edge_values(
    data: GraphData, tags: torch.Tensor, pos: torch.Tensor, atoms: torch.Tensor, supers: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Compute every edge key for the edges from super nodes to atoms, followed by the reverse edges."""
    cell, pbc = periodicity(data.whole)
    exact = pos.to(torch.float64)
    images = exact.new_zeros(len(atoms), 3)
    for node in supers.unique():
        mine = supers == node
        images[mine] = nearest_images(exact[node], exact[atoms[mine]], cell, pbc).to(images)
    matrix = np.zeros((3, 3)) if cell is None else cell
    offsets = images @ torch.as_tensor(matrix).to(images)
    vectors = exact[atoms] + offsets - exact[supers]
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    fractions = vectors @ torch.as_tensor(complete_cell(cell, pbc).inverse).to(images)
    num_added = len(pos) - len(tags)
    numbers = torch.nn.functional.pad(data.nodes["atomic_numbers"], (0, num_added))
    marked = torch.nn.functional.pad(tags, (0, num_added), value=GRAPH_SUPER_NODE)
    return {
        "images": torch.cat([images, -images]),
        "offsets": torch.cat([offsets, -offsets]),
        "unit_offsets": torch.cat([fractions, -fractions]),
        "distances": lengths.repeat(2),
        "r": lengths.repeat(2)[:, None],
        "mu": reduced_masses(numbers, marked, supers, atoms).repeat(2),
    }
