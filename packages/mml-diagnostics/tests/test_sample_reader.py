"""SampleReader reads the sampled elements of large, small, missing and transposed tensors."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.spikes import parameter_sample
from mml_diagnostics.spikes.parameter_sample import ParameterSample
from mml_diagnostics.spikes.sample_reader import SampleReader
from torch import nn

SHAPES = st.lists(st.lists(st.integers(1, 9), max_size=3), max_size=5)


def by_hand(sample, row):
    """Read one tensor at a time, by the positions of the sampled elements."""
    parts = [
        torch.zeros(size) if t is None else t.detach().flatten().float()[sample.positions(i)]
        for i, (t, size) in enumerate(zip(row, sample.sizes, strict=True))
    ]
    return torch.cat(parts) if parts else torch.zeros(0)


@given(SHAPES, st.sampled_from([0.05, 0.4, 1.0]), st.integers(0, 99), st.integers(1, 4), st.integers(0, 200))
def test_rows_equal_loop_over_tensors(shapes, fraction, seed, kinds, small):
    torch.manual_seed(seed)
    before, parameter_sample.SMALL = parameter_sample.SMALL, small
    try:
        sample = ParameterSample(
            [(f"p{i}", nn.Parameter(torch.randn(s))) for i, s in enumerate(shapes)], fraction
        )
        reader = SampleReader(sample, kinds)
    finally:
        parameter_sample.SMALL = before
    for step in range(2):  # twice: nothing of the first time is left
        rows = []
        for kind in range(kinds):
            row = [torch.randn_like(p) for p in sample.parameters]
            if row and step == 0:
                row[kind % len(row)] = None
            if row and row[-1] is not None and row[-1].ndim == 2:
                row[-1] = row[-1].T.contiguous().T
            rows.append(row)
        seen = torch.full((kinds, sample.size), torch.nan)
        reader.read(rows, seen)
        assert torch.equal(seen, torch.stack([by_hand(sample, row) for row in rows]))


def test_half_precision_is_read_as_float32():
    sample = ParameterSample([("w", nn.Parameter(torch.randn(4, 6, dtype=torch.bfloat16)))], 0.5)
    rows = [sample.parameters, [torch.randn(4, 6)]]
    seen = torch.zeros(2, sample.size)
    SampleReader(sample, 2).read(rows, seen)
    assert torch.equal(seen, torch.stack([by_hand(sample, row) for row in rows]))
