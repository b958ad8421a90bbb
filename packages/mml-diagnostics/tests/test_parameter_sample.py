"""Reproducible, evenly spread samples of parameters, and buffers of the last rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.spikes.parameter_sample import ParameterSample, SeriesBuffer
from torch import nn

SHAPES = st.lists(st.lists(st.integers(0, 12), max_size=3), max_size=5)


def make(shapes):
    return [(f"p{i}", nn.Parameter(torch.randn(shape))) for i, shape in enumerate(shapes)]


def taken(sample, tensors):
    parts = [sample.view(i, t) for i, t in enumerate(tensors)]
    return torch.cat([p.detach().float() for p in parts]) if parts else torch.empty(0)


@given(SHAPES, st.sampled_from([1e-6, 0.05, 0.3, 1.0]), st.integers(0, 5))
def test_sample_is_reproducible_and_has_expected_size(shapes, fraction, seed):
    named = make(shapes)
    sample = ParameterSample(named, fraction, seed)
    full = [(n, p) for n, p in named if p.numel()]
    assert sample.names == [n for n, _ in full]
    out = taken(sample, sample.parameters)
    assert len(out) == sample.size
    for (_, p), part, size in zip(full, out.split(sample.sizes) if full else [], sample.sizes, strict=True):
        assert 1 <= size <= p.numel()
        assert size <= p.numel() / round(1 / fraction) + 1
        assert torch.isin(part, p.detach().flatten()).all()
        assert part.unique().numel() == size  # random values: no element twice
    assert torch.equal(out, taken(ParameterSample(named, fraction, seed), sample.parameters))


def test_full_fraction_takes_all_elements():
    named = make([[3, 4], [5], []])
    sample = ParameterSample(named, 1.0)
    out = taken(sample, sample.parameters)
    assert torch.equal(out, torch.cat([p.detach().flatten() for _, p in named]))


@pytest.mark.parametrize("shape", [(128, 64), (60, 60), (1000, 20)])
def test_sample_covers_every_column(shape):
    p = nn.Parameter(torch.arange(shape[0] * shape[1], dtype=torch.float32).reshape(shape))
    sample = ParameterSample([("w", p)], 0.05)
    out = taken(sample, [p])
    assert (out.long() % shape[1]).unique().numel() == shape[1]


def test_view_reads_missing_and_transposed_tensors():
    p, q = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(3))
    sample = ParameterSample([("p", p), ("q", q)], 1.0)
    transposed = torch.randn(6, 4, dtype=torch.bfloat16).T
    assert torch.equal(
        taken(sample, [transposed, None]), torch.cat([transposed.flatten().float(), torch.zeros(3)])
    )


def test_positions_match_views():
    sample = ParameterSample(make([[100, 60], [30], [6, 6]]), 0.2)
    assert sample.num_small == 2
    assert sample.names == ["p1", "p2", "p0"]
    for i, p in enumerate(sample.parameters):
        assert torch.equal(p.detach().flatten()[sample.positions(i)], sample.view(i, p).detach())


@given(st.integers(1, 6), st.integers(0, 20))
def test_buffer_keeps_last_rows_in_order(length, count):
    buffer = SeriesBuffer(length, 2)
    for i in range(count):
        buffer.next_row.fill_(i)
        buffer.advance()
    kept = list(range(count))[-length:]
    assert len(buffer) == len(kept)
    assert buffer.rows[:, 0].tolist() == kept
