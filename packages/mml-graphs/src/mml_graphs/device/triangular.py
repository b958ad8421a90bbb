"""Turn the structures of a batch into a frame with short lattice sums, with torch operations on any device.

Each cell is turned so that its vectors, in a suitable order, are ``(x1, 0, 0)``, ``(x2, y2, 0)`` and
``(x3, y3, z3)``. The images of an atom within a sphere are then found for one direction after the other, the
outermost first (the enumeration of Fincke and Pohst, Math. Comp. 44, 463 (1985)). Directions that are not
periodic get a period so long that no image is in reach. Every structure therefore has three periods.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mml_graphs.neighbors.lattice import FLATTEST, SHORTEST


class Frame(NamedTuple):
    """B turned cells.

    Attributes
    ----------
    axes
        [B, 3] int64: indices of the given lattice vectors that are the innermost, middle and outermost
        vector.
    basis
        [3, 3, B] float64: ``basis[k]`` is the unit vector along coordinate k of the frame.
    vectors
        [6, B] float64: x1, x2, y2, x3, y3, z3, angstrom.
    reach
        [3, B] float64: search radius in fractional coordinates.
    origin
        [3, B] float64: smallest coordinate of an atom in directions that are not periodic, 0 in the others.
    flat
        [B] bool: ``True`` if the periodic vectors span no volume (area, length).
    """

    axes: Tensor
    basis: Tensor
    vectors: Tensor
    reach: Tensor
    origin: Tensor
    flat: Tensor


class Wrapped(NamedTuple):
    """N atoms that were moved into their turned cells.

    Attributes
    ----------
    fractions
        [3, N] float64, from 0 to 1.
    coordinates
        [3, N] float64, angstrom.
    shifts
        [3, N] float64, integer-valued: lattice translations that were subtracted, innermost vector first.
    """

    fractions: Tensor
    coordinates: Tensor
    shifts: Tensor


def turn(
    positions: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor, occupied: Tensor, radius: float
) -> Frame:
    """Turn the cells of a batch.

    Parameters
    ----------
    positions
        [N, 3] float64, angstrom.
    cell
        [B, 3, 3] float64, rows are the lattice vectors, angstrom. Only the periodic ones are used.
    pbc
        [B, 3] bool.
    batch
        [N] int64, index of the structure of each atom.
    occupied
        [B] bool: ``True`` if a structure has atoms. The cells of structures without atoms are ignored.
    radius
        Search radius, angstrom.

    Returns
    -------
    Frame
        Turned cells. If ``flat`` is ``True`` for a structure, its other values are meaningless.
    """
    periodic = pbc & occupied[:, None]
    cell = torch.where(periodic[:, :, None], cell, 0.0)
    lengths = torch.linalg.vector_norm(cell, dim=-1)
    # The shortest vector is the innermost: it has the most images, which are found last, when few pairs
    # remain.
    axes = torch.where(periodic, lengths, torch.inf).argsort(dim=1, stable=True)
    first, second, third = cell.gather(1, axes[:, :, None].expand_as(cell)).unbind(1)
    long1, long2, long3 = lengths.gather(1, axes).unbind(1)
    has1, has2, has3 = periodic.gather(1, axes).unbind(1)

    unit_x = torch.zeros_like(first)
    unit_x[:, 0] = 1.0
    e1 = torch.where(has1[:, None], first / long1[:, None], unit_x)
    x2 = (second * e1).sum(1)
    across = second - x2[:, None] * e1
    y2 = torch.linalg.vector_norm(across, dim=-1)
    # If the second vector is not periodic, any direction is valid. Use that of the axis farthest from e1.
    farthest = torch.zeros_like(first).scatter(1, e1.abs().argmin(1, keepdim=True), 1.0)
    normal = torch.nn.functional.normalize(farthest - (farthest * e1).sum(1, keepdim=True) * e1, dim=1)
    e2 = torch.where(has2[:, None], across / y2[:, None], normal)
    e3 = torch.linalg.cross(e1, e2, dim=1)
    z3 = (third * e3).sum(1)
    e3 = torch.where((z3 < 0)[:, None], -e3, e3)
    x3, y3, z3 = (third * e1).sum(1), (third * e2).sum(1), z3.abs()

    lacks = torch.stack([~has1, ~has2, ~has3])
    volume = torch.where(lacks, 1.0, torch.stack([long1, y2, z3])).prod(0)
    product = torch.where(lacks, 1.0, torch.stack([long1, long2, long3])).prod(0)
    short = torch.where(periodic, lengths, 1.0).amin(1) < SHORTEST
    flat = short | ~(volume > FLATTEST * product)

    basis = torch.stack([e1.T, e2.T, e3.T])
    projected = _project(positions, basis, batch)
    low = _extreme(projected, batch, len(cell), "amin")
    high = _extreme(projected, batch, len(cell), "amax")
    period = torch.where(occupied, high - low, 0.0) + 2 * radius
    x1, y2, z3 = torch.where(lacks, period, torch.stack([long1, y2, z3]))

    ratio2, ratio3 = x2 / x1, y3 / y2
    reach = radius * torch.stack(
        [
            torch.sqrt(1 / x1**2 + (ratio2 / y2) ** 2 + ((ratio2 * ratio3 - x3 / x1) / z3) ** 2),
            torch.sqrt(1 / y2**2 + (ratio3 / z3) ** 2),
            1 / z3,
        ]
    )
    origin = torch.where(lacks & occupied, low, 0.0)
    return Frame(axes, basis, torch.stack([x1, x2, y2, x3, y3, z3]), reach, origin, flat)


def wrap(positions: Tensor, frame: Frame, batch: Tensor) -> Wrapped:
    """Move atoms into their turned cells.

    Parameters
    ----------
    positions
        [N, 3] float64, angstrom.
    frame
        Turned cells.
    batch
        [N] int64, index of the structure of each atom.

    Returns
    -------
    Wrapped
        Atoms in fractional and Cartesian coordinates of the frame.
    """
    x, y, z = _project(positions, frame.basis, batch) - frame.origin.index_select(1, batch)
    x1, x2, y2, x3, y3, z3 = frame.vectors.index_select(1, batch)
    third = z / z3
    second = (y - third * y3) / y2
    first = (x - second * x2 - third * x3) / x1
    fractions = torch.stack([first, second, third])
    shifts = fractions.floor()
    fractions -= shifts
    first, second, third = fractions
    coordinates = torch.stack([first * x1 + second * x2 + third * x3, second * y2 + third * y3, third * z3])
    return Wrapped(fractions, coordinates, shifts)


def _project(positions: Tensor, basis: Tensor, batch: Tensor) -> Tensor:
    x, y, z = positions.T.contiguous()
    rows = []
    for axis in basis:
        ex, ey, ez = axis.index_select(1, batch)
        rows.append(x * ex + y * ey + z * ez)
    return torch.stack(rows)


def _extreme(values: Tensor, batch: Tensor, num_structures: int, which: str) -> Tensor:
    result = torch.zeros(3, num_structures, dtype=values.dtype, device=values.device)
    return result.scatter_reduce(1, batch.expand(3, -1), values, which, include_self=False)
