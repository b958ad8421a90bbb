import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.device import bins
from mml_graphs.device.bins import count_bins, expand, find_slices
from mml_graphs.device.triangular import turn, wrap


@given(st.lists(st.integers(0, 5)))
def test_expand_repeats_row_numbers(counts):
    row, within = expand(torch.tensor(counts, dtype=torch.int32))
    assert row.tolist() == np.repeat(np.arange(len(counts)), counts).tolist()
    assert within.tolist() == [k for count in counts for k in range(count)]
    assert row.dtype == within.dtype == torch.int32


@settings(max_examples=20)
@given(scale=st.floats(0.5, 40.0), num_atoms=st.sampled_from([1, 47, 48, 5000]))
def test_bins_exclude_most_atoms(scale, num_atoms):
    cell = torch.eye(3, dtype=torch.float64)[None] * scale
    batch = torch.zeros(1, dtype=torch.int64)
    pbc = torch.ones(1, 3, dtype=torch.bool)
    frame = turn(torch.zeros(1, 3, dtype=torch.float64), cell, pbc, batch, torch.tensor([True]), 1.0)
    bins = count_bins(frame, torch.tensor([num_atoms])).squeeze(1)
    if num_atoms < 48 or scale < 2:
        assert bins.tolist() == [1, 1, 1]
    elif scale > 4:
        assert (bins > 2 / scale * bins + 2).all()
        assert (scale / bins >= torch.tensor([1 / 8, 1 / 2, 1 / 2]) - 1e-9).all()


@pytest.mark.parametrize("factor", [0, 10**6])
def test_slices_contain_each_partner_once(monkeypatch, factor):
    """By the table of bins, and by searching for them."""
    monkeypatch.setattr(bins, "TABLE_FACTOR", factor)
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(400, 3, generator=generator, dtype=torch.float64) * 12
    cell = torch.tensor([[[12.0, 0, 0], [3, 11, 0], [0, -4, 12]]], dtype=torch.float64)
    batch = torch.zeros(400, dtype=torch.int64)
    frame = turn(positions, cell, torch.ones(1, 3, dtype=torch.bool), batch, torch.tensor([True]), 1.5)
    numbers = count_bins(frame, torch.tensor([400]))
    wrapped = wrap(positions, frame, batch)
    order, slices = find_slices(wrapped, frame, numbers, int(numbers.prod()), batch)
    row, within = expand(slices.length)
    tried = torch.zeros(400, 400, dtype=torch.int64)
    partner = order[slices.begin[row] + within]
    tried.index_put_(
        (slices.atom[row].long(), partner), torch.ones(len(row), dtype=torch.int64), accumulate=True
    )
    assert tried.max() == 1
    assert tried.double().mean() < 0.2
    difference = positions[None] - positions[:, None]
    fraction = difference @ torch.linalg.inv(cell[0])
    nearest = (fraction - fraction.round()) @ cell[0]
    assert tried[nearest.norm(dim=-1) <= 1.5].all()
