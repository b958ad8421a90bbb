"""Atoms of a batch sorted into bins of their structure, by torch operations on any device.

For each atom, the bins in reach are columns (outer and middle direction) with one run of bins (innermost
direction) each, so that its partners are a few contiguous slices of the sorted atoms; small cells have one
bin. Lists of unequal length are laid out by counts and running sums.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mml_graphs.triangular import Frame, Wrapped

# Bins are this part of the radius wide (innermost, middle, outer): runs cost nothing, columns a row each.
BIN_WIDTHS = (1 / 8, 1 / 2, 1 / 2)
BINNED_FROM = 48  # atoms: fewer are hardly more than the columns in reach
MOST_BINS = 8192  # along each direction: the number of a bin stays far below 2**63
# A table of all bins is the quicker way to their atoms; more bins than this an atom are searched for.
TABLE_FACTOR = 16


class Slices(NamedTuple):
    """Slices of the sorted atoms, int32: atom ``atom[k]`` may see ``length[k]`` of them from ``begin[k]``."""

    atom: Tensor
    begin: Tensor
    length: Tensor


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
) -> tuple[Tensor, Slices]:
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
        How many they are, over all structures.
    batch
        [N] the structure of each atom.

    Returns
    -------
    order, slices
        [N] atoms sorted by bin, and the slices, sorted by atom; some are empty.
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

    # A run that leaves the cell at one end comes back at the other: two slices.
    stop = low1 + span1
    begins = torch.stack([column + low1, column], dim=1)
    stops = torch.stack([column + torch.minimum(stop, n1), column + (stop - n1).clamp(min=0)], dim=1)
    if n_bins <= TABLE_FACTOR * len(batch):
        filled = torch.zeros(n_bins, dtype=torch.int64, device=keys.device)
        filled = filled.index_add(0, keys, torch.ones_like(keys)).cumsum(0)
        table = torch.cat([filled.new_zeros(1), filled])
        begins, stops = table[begins], table[stops]
    else:
        begins, stops = torch.searchsorted(keys, begins), torch.searchsorted(keys, stops)
    both = atom.repeat_interleave(2, output_size=2 * len(atom))
    slices = (both, begins.flatten(), (stops - begins).flatten())
    return order, Slices(*(column.to(torch.int32) for column in slices))


def expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat the row numbers 0, 1, ... as often as the counts say.

    Parameters
    ----------
    counts
        [R] integers.

    Returns
    -------
    row, within
        [sum of counts] each, of the dtype of the counts: the row, and which repetition of it this is, from 0.
    """
    ends = counts.cumsum(0, dtype=counts.dtype)
    total = int(ends[-1]) if len(ends) else 0
    row = torch.repeat_interleave(counts, output_size=total)
    numbers = torch.arange(total, dtype=counts.dtype, device=counts.device)
    return row, numbers - (ends - counts).index_select(0, row)
