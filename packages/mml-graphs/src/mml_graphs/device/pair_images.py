"""Find all pairs of atoms and images within a radius for a batch, with torch operations on any device.

The partners of an atom are slices of the atoms sorted by bin (`mml_graphs.device.bins`). For each pair, the
images in reach are enumerated one direction after the other (`mml_graphs.device.triangular`). Pairs are
examined in portions of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from mml_graphs.device.bins import Slices, count_bins, expand, find_slices
from mml_graphs.device.triangular import Frame, Wrapped

# Number of pairs per portion: few enough for the cache of a CPU, enough to fill a GPU.
PAIRS_CPU, PAIRS_DEVICE = 2**16, 2**23
MOST_PAIRS = 2**26  # of one atom; this many take several GB at a time


class Pairs(NamedTuple):
    """Directed pairs, sorted by source atom.

    Attributes
    ----------
    src, dst
        [E] int64, rows of the positions.
    images
        [3, E] float64, integer-valued, in the order of the given lattice vectors.
    """

    src: Tensor
    dst: Tensor
    images: Tensor


def find_pairs(
    wrapped: Wrapped, frame: Frame, batch: Tensor, counts: Tensor, radius: float
) -> Iterator[Pairs]:
    """Find the pairs within a radius, one portion of the atoms at a time.

    Parameters
    ----------
    wrapped
        Atoms in the turned cells.
    frame
        Turned cells.
    batch
        [N] int64, index of the structure of each atom, in any order.
    counts
        [B] int64, number of atoms of each structure.
    radius
        Search radius, angstrom.

    Yields
    ------
    Pairs
        Pairs of the next atoms, those of an atom with itself only in another image. Due to rounding, pairs
        may be included that are slightly farther apart than the radius.

    Raises
    ------
    ValueError
        If one atom has more images in reach than fit into memory.
    """
    bins = count_bins(frame, counts)
    order, slices = find_slices(wrapped, frame, bins, int(bins.prod(0).sum()), batch)
    x1, _, y2, _, _, z3 = frame.vectors
    images = (2 * radius / torch.stack([x1, y2, z3])).clamp(min=1).prod(0)  # rough maximum per partner
    partners = torch.zeros_like(batch).index_add(0, slices.atom, slices.length.long())
    weights = partners * images.index_select(0, batch)
    ends = weights.cumsum(0)
    limit = PAIRS_CPU if batch.device.type == "cpu" else PAIRS_DEVICE
    heaviest, total = torch.stack([weights.max(), ends[-1]]).tolist()
    if heaviest > MOST_PAIRS:
        atom = int(weights.argmax())
        raise ValueError(
            f"structure {int(batch[atom])}: atom {atom} has about {heaviest:.0e} images within "
            f"{radius:.6g} angstrom, too many for a search. Decrease the cutoff, or check that the "
            "cell is in "
            "angstrom."
        )

    # Each portion consists of whole atoms, up to the atom at which the running sum passes a multiple of the
    # limit.
    marks = torch.arange(1, int(total // limit) + 1, device=batch.device) * float(limit)
    inner = torch.searchsorted(ends, marks).clamp(max=len(batch) - 1) + 1
    borders = torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), len(batch))])
    cuts = torch.searchsorted(slices.atom, borders).tolist()
    enumerate_images = _Enumeration(wrapped, frame, order, batch, radius)
    for first, last in pairwise(cuts):
        if last > first:
            yield enumerate_images(Slices(*(column[first:last] for column in slices)))


class _Enumeration:
    """Enumerate the images in reach for slices of atoms, from columns that are looked up for each atom.

    Columns of the partner are sorted by bin. Columns that depend only on the structure have a single value if
    there is one structure.
    """

    def __init__(self, wrapped: Wrapped, frame: Frame, order: Tensor, batch: Tensor, radius: float) -> None:
        self.order, self.square = order, radius * radius
        self.rank = order.argsort().to(torch.int32)
        third = wrapped.fractions[2]
        reach = frame.reach[2].index_select(0, batch)
        self.low, self.high = third - reach, third + reach
        self.x, self.y, self.z = wrapped.coordinates
        self.shifts = wrapped.shifts
        self.partner_third = third.index_select(0, order)
        self.partner_x, self.partner_y, self.partner_z = wrapped.coordinates.index_select(1, order)
        self.partner_shifts = wrapped.shifts.index_select(1, order)
        vectors, places = frame.vectors, frame.axes.argsort(dim=1).T
        if vectors.shape[1] > 1:
            vectors, places = vectors.index_select(1, batch), places.index_select(1, batch)
        self.x1, self.x2, self.y2, self.x3, self.y3, self.z3 = vectors
        self.per_x1, self.per_y2 = 1 / self.x1, 1 / self.y2
        self.places = places

    def __call__(self, slices: Slices) -> Pairs:
        row, within = expand(slices.length)
        i = slices.atom.index_select(0, row)
        j = slices.begin.index_select(0, row) + within

        third = self.partner_third.index_select(0, j)
        first = (self.low.index_select(0, i) - third).ceil()
        last = (self.high.index_select(0, i) - third).floor()
        row, within = expand((last - first + 1).to(torch.int32))
        i, j, m3 = i.index_select(0, row), j.index_select(0, row), first.index_select(0, row) + within

        z = self.partner_z.index_select(0, j) - self.z.index_select(0, i) + m3 * _pick(self.z3, i)
        y = self.partner_y.index_select(0, j) - self.y.index_select(0, i) + m3 * _pick(self.y3, i)
        rest = (self.square - z * z).clamp_(min=0)
        middle, half = y * _pick(self.per_y2, i), rest.sqrt() * _pick(self.per_y2, i)
        first = -(middle + half).floor()
        row, within = expand(((half - middle).floor() - first + 1).to(torch.int32))
        i, j, m3 = (column.index_select(0, row) for column in (i, j, m3))
        m2 = first.index_select(0, row) + within

        y = y.index_select(0, row) + m2 * _pick(self.y2, i)
        rest = (rest.index_select(0, row) - y * y).clamp_(min=0)
        x = self.partner_x.index_select(0, j) - self.x.index_select(0, i)
        x = x + m3 * _pick(self.x3, i) + m2 * _pick(self.x2, i)
        middle, half = x * _pick(self.per_x1, i), rest.sqrt() * _pick(self.per_x1, i)
        first = -(middle + half).floor()
        # The images of an atom include its own position once. This image is left out.
        own = (self.rank.index_select(0, i) == j) & (m2 == 0) & (m3 == 0)
        row, within = expand(((half - middle).floor() - first + 1).to(torch.int32) - own.to(torch.int32))
        m1 = first.index_select(0, row) + within
        m1 = m1 + (own.index_select(0, row) & (m1 >= 0))
        i, j, m2, m3 = (column.index_select(0, row) for column in (i, j, m2, m3))

        images = torch.stack(
            [
                m + (shift.index_select(0, i) - partner_shift.index_select(0, j))
                for m, shift, partner_shift in zip(
                    (m1, m2, m3), self.shifts, self.partner_shifts, strict=True
                )
            ]
        )
        return Pairs(i.long(), self.order.index_select(0, j), in_given_order(images, self.places, i))


def in_given_order(images: Tensor, places: Tensor, atom: Tensor) -> Tensor:
    """Reorder images from the order of the turned lattice vectors to that of the given ones.

    Parameters
    ----------
    images
        [3, E], innermost direction first.
    places
        [3, N] or [3, 1]: index of the turned vector for each given vector, per atom or for all atoms.
    atom
        [E] index of an atom of each edge.

    Returns
    -------
    Tensor
        [3, E], images in the order of the given lattice vectors.
    """
    if places.shape[1] == 1:
        return images.index_select(0, places[:, 0])
    return images.gather(0, torch.stack([place.index_select(0, atom) for place in places]))


def _pick(column: Tensor, atom: Tensor) -> Tensor:
    """Look up the value of each atom. A single value for all atoms is returned as is."""
    return column if len(column) == 1 else column.index_select(0, atom)
