from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs import pair_images
from mml_graphs.pair_images import count_bins, expand, find_pairs
from mml_graphs.triangular import turn, wrap


def search(positions, cell, radius):
    batch = torch.zeros(len(positions), dtype=torch.int64)
    counts = torch.tensor([len(positions)])
    pbc = torch.ones(1, 3, dtype=torch.bool)
    frame = turn(positions, cell[None], pbc, batch, counts > 0, radius)
    return list(find_pairs(wrap(positions, frame, batch), frame, batch, counts, radius))


def lattice(n_side, spacing=2.0):
    sites = torch.cartesian_prod(*[torch.arange(n_side, dtype=torch.float64)] * 3) * spacing
    return sites, torch.eye(3, dtype=torch.float64) * n_side * spacing


@given(st.lists(st.integers(0, 5)))
def test_expand_repeats_row_numbers(counts):
    row, within = expand(torch.tensor(counts, dtype=torch.int32))
    assert row.tolist() == np.repeat(np.arange(len(counts)), counts).tolist()
    assert within.tolist() == [k for count in counts for k in range(count)]
    assert row.dtype == within.dtype == torch.int32


@pytest.mark.parametrize("n_side", [1, 3, 8])
def test_shells_of_the_cubic_lattice(n_side):
    """Of a cubic lattice, 6 neighbours are at 1, 12 at root 2, 8 at root 3, and 6 at 2 lattice constants."""
    portions = search(*lattice(n_side), radius=4.1)
    for ends in ([pairs.src for pairs in portions], [pairs.dst for pairs in portions]):
        assert torch.bincount(torch.cat(ends)).tolist() == [32] * n_side**3


def test_portions_hold_whole_atoms_and_what_one_portion_holds(monkeypatch):
    positions, cell = lattice(6)
    (whole,) = search(positions, cell, 3.0)
    monkeypatch.setattr(pair_images, "PAIRS_CPU", 500)
    portions = search(positions, cell, 3.0)
    assert len(portions) > 10
    for one, other in pairwise(portions):
        assert one.src[-1] < other.src[0]
    for name in ("src", "dst", "images"):
        joined = torch.cat([getattr(portion, name) for portion in portions], dim=-1)
        assert torch.equal(joined, getattr(whole, name))


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.5, 40.0), n_atoms=st.sampled_from([1, 47, 48, 5000]))
def test_bins_are_used_where_they_leave_most_atoms_out(scale, n_atoms):
    cell = torch.eye(3, dtype=torch.float64)[None] * scale
    batch = torch.zeros(1, dtype=torch.int64)
    pbc = torch.ones(1, 3, dtype=torch.bool)
    frame = turn(torch.zeros(1, 3, dtype=torch.float64), cell, pbc, batch, torch.tensor([True]), 1.0)
    bins = count_bins(frame, torch.tensor([n_atoms])).squeeze(1)
    if n_atoms < 48 or scale < 2:
        assert bins.tolist() == [1, 1, 1]
    elif scale > 4:
        assert (bins > 2 / scale * bins + 2).all()
        assert (scale / bins >= torch.tensor([1 / 8, 1 / 2, 1 / 2]) - 1e-9).all()
