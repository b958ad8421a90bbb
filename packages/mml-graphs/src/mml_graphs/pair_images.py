"""All pairs of atoms and images within a radius, for the structures of a batch, by torch operations on any device.

Atoms are sorted into bins of their structure. For each atom, the bins in reach are columns (outer and middle
direction) with one run of bins (innermost direction) each, so that its partners are a few contiguous slices;
small cells have one bin. For each pair, the images in reach follow direction by direction (`mml_graphs.triangular`).
Lists of unequal length are expanded by counts and running sums, a bounded number of rows at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mml_graphs.triangular import Frame, Wrapped

# Bins are this part of the radius wide (innermost, middle, outer): runs cost nothing, columns a row each.
BIN_WIDTHS = (1 / 8, 1 / 2, 1 / 2)
BINNED_FROM = 48  # atoms: below, all pairs are quicker than bins (measured)
MOST_BINS = 8192  # along each direction: a bin's number stays far below 2**63
# A table of all bins is the quicker way to a bin's atoms; with more bins than this an atom, they are searched for.
TABLE_FACTOR = 16
# Rows expanded at a time: few enough for a CPU's cache, many enough to fill a GPU.
ROWS_CPU, ROWS_DEVICE = 2**17, 2**23
# Images of all partners of one atom: as many rows cannot be held at a time.
MOST_ROWS = 2**28


class Rows(NamedTuple):
    """Slices of the sorted atoms: atom ``atom[k]`` may see those from ``begin[k]``, ``count[k]`` of them.

    A slice that comes to ``end`` goes on ``size`` atoms before it.
    """

    atom: Tensor
    begin: Tensor
    count: Tensor
    end: Tensor
    size: Tensor


def count_bins(frame: Frame, counts: Tensor) -> Tensor:
    """Choose the number of bins of each structure.

    Parameters
    ----------
    frame
        The turned cells.
    counts
        [B] number of atoms.

    Returns
    -------
    Tensor
        [3, B] int64; 1 where the bins in reach would be nearly all of them.
    """
    widths = frame.reach.new_tensor(BIN_WIDTHS)[:, None]
    bins = (1 / (frame.reach * widths)).clamp(1, MOST_BINS).floor()
    useful = (bins > 2 * frame.reach * bins + 2) & (counts >= BINNED_FROM)
    return torch.where(useful, bins, 1.0).to(torch.int64)


def find_slices(
    wrapped: Wrapped, frame: Frame, bins: Tensor, n_bins: int, batch: Tensor
) -> tuple[Tensor, Rows]:
    """Sort atoms into bins and find the slices of them that each atom may see.

    Parameters
    ----------
    wrapped
        Atoms in the turned cells.
    frame
        The turned cells.
    bins
        [3, B] from `count_bins`.
    n_bins
        Sum over the structures of their number of bins.
    batch
        [N] the structure of each atom.

    Returns
    -------
    order, rows
        [N] atoms sorted by bin, and the slices, sorted by atom.
    """
    fractions, n_atoms = wrapped.fractions, len(batch)
    reach, n = frame.reach.index_select(1, batch), bins.index_select(1, batch)
    total = bins.prod(0)
    base = (total.cumsum(0) - total).index_select(0, batch)
    n1, n2, _ = n
    own1, own2, own3 = torch.minimum((fractions * n).to(torch.int64), n - 1)
    keys, order = torch.sort(base + (own3 * n2 + own2) * n1 + own1)

    low = ((fractions - reach) * n).floor().to(torch.int64)
    high = ((fractions + reach) * n).floor().to(torch.int64)
    span = torch.minimum(high - low + 1, n)
    low = low.remainder(n)

    if n_bins == bins.shape[1]:
        atom = torch.arange(n_atoms, device=batch.device)
        column, start, length = base, low[0], span[0]
    else:
        atom, within = expand(span[1] * span[2])
        span2, m1, m2, m3 = span[1].take(atom), *n.index_select(1, atom)
        column3 = low[2].take(atom) + within // span2
        column2 = low[1].take(atom) + within % span2
        column3 -= torch.where(column3 >= m3, m3, 0)
        column2 -= torch.where(column2 >= m2, m2, 0)
        column = base.take(atom) + (column3 * m2 + column2) * m1
        start, length, n1 = low[0].take(atom), span[0].take(atom), m1

    stop = start + length
    over = stop > n1
    bounds = torch.stack([column, column + n1, column + start, column + stop - torch.where(over, n1, 0)])
    if n_bins <= TABLE_FACTOR * n_atoms:
        table = torch.zeros(n_bins + 1, dtype=torch.int64, device=keys.device)
        table[1:] = torch.zeros_like(table[1:]).scatter_add(0, keys, torch.ones_like(keys)).cumsum(0)
        bounds = table.take(bounds)
    else:
        bounds = torch.searchsorted(keys, bounds)
    first, end, begin, stop = bounds
    size = end - first
    return order, Rows(atom, begin, stop - begin + torch.where(over, size, 0), end, size)


class Pairs(NamedTuple):
    """Directed pairs, sorted by ``src``; ``images`` [3, E] int32 in the order of the given lattice vectors."""

    src: Tensor
    dst: Tensor
    images: Tensor


def find_pairs(wrapped: Wrapped, frame: Frame, batch: Tensor, counts: Tensor, radius: float) -> Pairs:
    """Find the pairs within a radius.

    Parameters
    ----------
    wrapped
        Atoms in the turned cells.
    frame
        The turned cells.
    batch
        [N] int64, the structure of each atom, in any order.
    counts
        [B] int64, the number of atoms of each structure.
    radius
        Search radius, angstrom.

    Returns
    -------
    Pairs
        An atom with itself only in another image. Pairs farther apart by rounding errors may be among them.

    Raises
    ------
    ValueError
        If one atom has more images in reach than memory could hold.
    """
    n_atoms, device = len(batch), batch.device
    bins = count_bins(frame, counts)
    order, rows = find_slices(wrapped, frame, bins, int(bins.prod(0).sum()), batch)
    lengths = frame.vectors[[0, 2, 5]]
    images = (2 * radius / lengths).clamp(min=1).prod(0)  # of one pair, at most about
    candidates = torch.zeros(n_atoms, dtype=torch.int64, device=device).scatter_add(0, rows.atom, rows.count)
    weights = candidates * images.index_select(0, batch)
    limit = ROWS_CPU if device.type == "cpu" else ROWS_DEVICE
    ends = weights.cumsum(0)
    heaviest, total = torch.stack([weights.max(), ends[-1]]).tolist()
    if heaviest > MOST_ROWS:
        atom = int(weights.argmax())
        raise ValueError(
            f"structure {int(batch[atom])}: atom {atom} would see about {int(heaviest):.0e} images within "
            f"{radius:.6g} angstrom; lower the cutoff, or check that the cell is in angstrom"
        )

    # Whole atoms, as many as stay within the limit: where the running sum passes each multiple of it.
    marks = torch.arange(1, int(total // limit) + 1, device=device) * float(limit)
    cuts = torch.searchsorted(ends, marks).clamp(max=n_atoms - 1) + 1
    borders = torch.cat([cuts.new_zeros(1), cuts, cuts.new_full((1,), n_atoms)])
    row_borders = torch.searchsorted(rows.atom, borders)
    steps = torch.stack([borders, row_borders])
    atoms_at, rows_at = steps.tolist()

    columns = _Columns(wrapped, frame, order, batch)
    found = [
        columns.pairs(Rows(*(column[first:last] for column in rows)), radius)
        for start, stop, first, last in zip(
            atoms_at[:-1], atoms_at[1:], rows_at[:-1], rows_at[1:], strict=True
        )
        if stop > start
    ]
    if len(found) == 1:
        return found[0]
    return Pairs(
        torch.cat([part.src for part in found]),
        torch.cat([part.dst for part in found]),
        torch.cat([part.images for part in found], dim=1),
    )


class _Columns:
    """What `find_pairs` looks up for each atom: of the source in the given order, of the partner sorted by bin."""

    def __init__(self, wrapped: Wrapped, frame: Frame, order: Tensor, batch: Tensor) -> None:
        self.order, self.frame, self.batch = order, frame, batch
        self.third = wrapped.fractions[2]
        self.x, self.y, self.z = wrapped.coordinates
        self.sorted_third = self.third.take(order)
        self.sorted_x, self.sorted_y, self.sorted_z = wrapped.coordinates.index_select(1, order)
        self.shifts = wrapped.shifts
        self.sorted_shifts = wrapped.shifts.index_select(1, order)
        self.x1, self.x2, self.y2, self.x3, self.y3, self.z3 = frame.vectors.index_select(1, batch)
        self.reach = frame.reach[2].index_select(0, batch)

    def pairs(self, rows: Rows, radius: float) -> Pairs:
        """Find the pairs of the atoms in some rows."""
        square = radius * radius
        row, within = expand(rows.count)
        j = rows.begin.take(row) + within
        j -= torch.where(j >= rows.end.take(row), rows.size.take(row), 0)
        i = rows.atom.take(row)

        middle = self.third.take(i) - self.sorted_third.take(j)
        reach = self.reach.take(i)
        row, m3 = _integers(middle - reach, middle + reach)
        i, j = i.take(row), j.take(row)

        z = self.sorted_z.take(j) - self.z.take(i) + m3 * self.z3.take(i)
        rest = (square - z * z).clamp(min=0)
        y = self.sorted_y.take(j) - self.y.take(i) + m3 * self.y3.take(i)
        half, step = rest.sqrt(), self.y2.take(i)
        row, m2 = _integers((-y - half) / step, (half - y) / step)
        i, j, m3 = i.take(row), j.take(row), m3.take(row)

        y = y.take(row) + m2 * step.take(row)
        half = (rest.take(row) - y * y).clamp(min=0).sqrt()
        x = self.sorted_x.take(j) - self.x.take(i) + m3 * self.x3.take(i) + m2 * self.x2.take(i)
        step = self.x1.take(i)
        row, m1 = _integers((-x - half) / step, (half - x) / step)
        i, j, m2, m3 = i.take(row), j.take(row), m2.take(row), m3.take(row)

        dst = self.order.take(j)
        other = torch.nonzero((i != dst) | (m1 != 0) | (m2 != 0) | (m3 != 0)).squeeze(1)
        i, j, dst = i.take(other), j.take(other), dst.take(other)
        turned = torch.stack([m1.take(other), m2.take(other), m3.take(other)]).to(torch.int32)
        turned += self.shifts.index_select(1, i) - self.sorted_shifts.index_select(1, j)
        return Pairs(i, dst, in_given_order(turned, self.frame, self.batch.index_select(0, i)))


def in_given_order(images: Tensor, frame: Frame, structure: Tensor) -> Tensor:
    """Reorder images from the turned lattice vectors to the given ones.

    Parameters
    ----------
    images
        [3, E] integers, innermost direction first.
    frame
        The turned cells.
    structure
        [E] the structure of each edge.

    Returns
    -------
    Tensor
        [3, E].
    """
    places = frame.axes.argsort(dim=1).T
    if places.shape[1] == 1:
        return images.index_select(0, places[:, 0])
    return images.gather(0, places.index_select(1, structure))


def expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat the row numbers 0, 1, ... as often as the counts say.

    Parameters
    ----------
    counts
        [R] int64.

    Returns
    -------
    row, within
        [sum of counts] each: the row, and the how-manieth repetition of it this is, from 0.
    """
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    row = torch.repeat_interleave(counts, output_size=total)
    return row, torch.arange(total, device=counts.device) - (ends - counts).take(row)


def _integers(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """List the integers of each interval: the row of each, and the integer as float64."""
    first = low.ceil()
    counts = (high.floor() - first + 1).to(torch.int64)
    row, within = expand(counts)
    return row, first.take(row) + within
