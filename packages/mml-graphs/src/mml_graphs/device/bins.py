"""Sort the atoms of a batch into bins of their structure, with torch operations on any device.

For each atom, the bins in reach are columns (outer and middle direction), each with one run of bins
(innermost direction). The partners of an atom are therefore a few contiguous slices of the sorted atoms.
Small cells have a single bin. Lists of unequal length are stored by their counts and running sums.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mml_graphs.device.triangular import Frame, Wrapped

# Bin widths as fractions of the radius (innermost, middle, outer). Runs cost nothing; each column costs a
# row.
BIN_WIDTHS = (1 / 8, 1 / 2, 1 / 2)
BINNED_FROM = 48  # atoms; smaller structures have hardly more atoms than columns in reach
MOST_BINS = 8192  # along each direction, so that the index of a bin stays far below 2**63
# A table of all bins finds their atoms faster. With more bins per atom than this, a binary search is used.
TABLE_FACTOR = 16


class Slices(NamedTuple):
    """Slices of the sorted atoms, int32.

    Slice k contains ``length[k]`` atoms, from ``begin[k]`` on, that may be neighbors of atom ``atom[k]``.
    """

    atom: Tensor
    begin: Tensor
    length: Tensor


def count_bins(frame: Frame, counts: Tensor) -> Tensor:
    """Choose the number of bins of each structure.

    Parameters
    ----------
    frame
        Turned cells.
    counts
        [B] number of atoms.

    Returns
    -------
    Tensor
        [3, B] int64, number of bins along each direction. It is 1 if nearly all bins would be in reach.
    """
    widths = frame.reach.new_tensor(BIN_WIDTHS)[:, None]
    bins = (1 / (frame.reach * widths)).clamp(1, MOST_BINS).floor()
    useful = (bins > 2 * frame.reach * bins + 2) & (counts >= BINNED_FROM)
    return torch.where(useful, bins, 1.0).to(torch.int64)


def find_slices(
    wrapped: Wrapped, frame: Frame, bins: Tensor, num_bins: int, batch: Tensor
) -> tuple[Tensor, Slices]:
    """Sort atoms into bins, and find the slices of the sorted atoms that may be neighbors of each atom.

    Parameters
    ----------
    wrapped
        Atoms in the turned cells.
    frame
        Turned cells.
    bins
        [3, B] from `count_bins`.
    num_bins
        Total number of bins of all structures.
    batch
        [N] index of the structure of each atom.

    Returns
    -------
    order, slices
        [N] indices of the atoms sorted by bin, and the slices, sorted by atom. Some slices are empty.
    """
    fractions = wrapped.fractions
    reach, n = frame.reach.index_select(1, batch), bins.index_select(1, batch)
    total = bins.prod(0)
    base = (total.cumsum(0) - total).index_select(0, batch)
    n1, n2, n3 = n
    own1, own2, own3 = torch.minimum((fractions * n).to(torch.int64), n - 1)
    keys, order = torch.sort(base + (own3 * n2 + own2) * n1 + own1)

    low = ((fractions - reach) * n).floor().to(torch.int64)
    high = ((fractions + reach) * n).floor().to(torch.int64)
    span1, span2, span3 = torch.minimum(high - low + 1, n)
    low1, low2, low3 = low.remainder(n)

    atom, within = expand(span2 * span3)
    span2, low2, low3, n2, n3 = (c.index_select(0, atom) for c in (span2, low2, low3, n2, n3))
    base, low1, span1, n1 = (c.index_select(0, atom) for c in (base, low1, span1, n1))
    outer = torch.div(within, span2, rounding_mode="floor")
    column3 = (low3 + outer).remainder(n3)
    column2 = (low2 + within - outer * span2).remainder(n2)
    column = base + (column3 * n2 + column2) * n1

    # A run that leaves the cell at one end continues at the other end, so each run has two slices.
    stop = low1 + span1
    begins = torch.stack([column + low1, column], dim=1)
    stops = torch.stack([column + torch.minimum(stop, n1), column + (stop - n1).clamp(min=0)], dim=1)
    if num_bins <= TABLE_FACTOR * len(batch):
        filled = torch.zeros(num_bins, dtype=torch.int64, device=keys.device)
        filled = filled.index_add(0, keys, torch.ones_like(keys)).cumsum(0)
        table = torch.cat([filled.new_zeros(1), filled])
        begins, stops = table[begins], table[stops]
    else:
        begins, stops = torch.searchsorted(keys, begins), torch.searchsorted(keys, stops)
    both = atom.repeat_interleave(2, output_size=2 * len(atom))
    slices = (both, begins.flatten(), (stops - begins).flatten())
    return order, Slices(*(column.to(torch.int32) for column in slices))


def expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat each row number 0, 1, ... as often as its count.

    Parameters
    ----------
    counts
        [R] integers.

    Returns
    -------
    row, within
        [sum of counts] each, in the dtype of the counts: the row number, and the index of the repetition,
        from 0.
    """
    ends = counts.cumsum(0, dtype=counts.dtype)
    total = int(ends[-1]) if len(ends) else 0
    row = torch.repeat_interleave(counts, output_size=total)
    numbers = torch.arange(total, dtype=counts.dtype, device=counts.device)
    return row, numbers - (ends - counts).index_select(0, row)
