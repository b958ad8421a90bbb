"""Compute lengths, reduced masses and nearest images of edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mml_graphs.neighbors.lattice import Pbc, complete_cell
from mml_graphs.transforms._masses import atomic_masses

if TYPE_CHECKING:
    from mml_graphs.libraries.graph_data import GraphData

# Tags of the Open Catalyst data sets, and tags of the nodes that the super-node transforms add.
SUBSURFACE, ADSORBATE, GRAPH_SUPER_NODE, ATOMIC_SUPER_NODE = 0, 2, 3, 4


def edge_offsets(data: GraphData, dtype: torch.dtype) -> torch.Tensor:
    """Return the lattice translations [E, 3] of a graph's edges, angstrom. Zeros if nothing is periodic.

    Raises
    ------
    ValueError
        If the graph is periodic, and its edges have neither ``offsets`` nor ``images``.
    """
    if "offsets" in data.edges:
        return data.edges["offsets"].to(dtype)
    cell, pbc = periodicity(data.whole)
    if "images" in data.edges and cell is not None:
        return data.edges["images"].to(dtype) @ torch.as_tensor(cell).to(data.src.device, dtype)
    if any(pbc):
        raise ValueError(
            "'offsets' and 'images' of the edges are missing, and the graph is periodic. "
            "Find the edges with PeriodicPropertiesTransform."
        )
    return torch.zeros(len(data.src), 3, dtype=dtype, device=data.src.device)


def edge_lengths(
    pos: torch.Tensor, src: torch.Tensor, dst: torch.Tensor, offsets: torch.Tensor
) -> torch.Tensor:
    """Compute the lengths ``|pos[dst] + offsets - pos[src]|`` of edges, [E], angstrom."""
    return torch.linalg.vector_norm(pos[dst] + offsets - pos[src], dim=-1)


def reduced_masses(
    numbers: torch.Tensor, tags: torch.Tensor | None, src: torch.Tensor, dst: torch.Tensor
) -> torch.Tensor:
    """Compute the reduced mass m m' / (m + m') of the two ends of each edge.

    Parameters
    ----------
    numbers
        [N] atomic numbers.
    tags
        [N] tags or ``None``. Nodes with tag 3 or 4 are super nodes. They are fixed in place and count as
        infinitely heavy, so the reduced mass of an edge with a super node is the mass of its other end.
    src, dst
        [E] each, the edges.

    Returns
    -------
    Tensor
        [E] float64, in u, from the standard atomic masses of pymatgen.

    Raises
    ------
    ValueError
        If an atomic number is not that of an element.
    """
    real = torch.ones_like(numbers, dtype=torch.bool) if tags is None else tags < GRAPH_SUPER_NODE
    inverse = torch.zeros(len(numbers), dtype=torch.float64, device=numbers.device)
    inverse[real] = 1 / atomic_masses(numbers[real])
    return 1 / (inverse[src] + inverse[dst])


def periodicity(arrays: Mapping[str, Any]) -> tuple[NDArray[np.float64] | None, Pbc]:
    """Return the cell [3, 3] (``None`` if it is missing or zero) and the periodic directions of a graph."""
    cell = None
    if "cell" in arrays:
        cell = arrays["cell"].detach().cpu().to(torch.float64).numpy().reshape(3, 3)
        cell = cell if cell.any() else None
    if "pbc" in arrays:
        x, y, z = arrays["pbc"].reshape(3).tolist()
        return cell, (bool(x), bool(y), bool(z))
    return cell, (cell is not None,) * 3


def nearest_images(
    start: torch.Tensor, ends: torch.Tensor, cell: NDArray[np.float64] | None, pbc: Pbc
) -> torch.Tensor:
    """Find the lattice translations that bring points nearest to a given point.

    Parameters
    ----------
    start
        [3], the given point, angstrom.
    ends
        [K, 3], the points to translate, angstrom.
    cell
        [3, 3], rows are the lattice vectors, angstrom, or ``None``.
    pbc
        Periodicity along each of the three lattice vectors.

    Returns
    -------
    Tensor
        [K, 3] float64, integer-valued images. ``ends + images @ cell`` are nearest to ``start``, according to
        pymatgen's search in a reduced cell.
    """
    if cell is None or not any(pbc):
        return torch.zeros(ends.shape, dtype=torch.float64)
    from pymatgen.core import Lattice
    from pymatgen.util.coord import pbc_shortest_vectors

    points = ends.detach().cpu().to(torch.float64).numpy()
    origin = start.detach().cpu().to(torch.float64).numpy()
    # pymatgen's function treats every direction as periodic. Along the non-periodic directions, it gets
    # vectors that are so long that a translation never brings a point nearer.
    periodic = np.array(pbc)
    matrix = complete_cell(np.where(periodic[:, None], cell, 0.0), pbc).matrix.copy()
    matrix[~periodic] *= 4 * np.linalg.norm(points - origin, axis=1).max(initial=1.0)
    inverse = np.linalg.inv(matrix)
    vectors = pbc_shortest_vectors(Lattice(matrix), origin @ inverse, points @ inverse)[0]
    return torch.tensor(np.round((vectors - (points - origin)) @ inverse))
