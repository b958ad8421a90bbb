"""Exploding and collapsed embeddings, and healthy embeddings that look similar."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.batch_view import view_batch
from mml_diagnostics.checks.embeddings import (
    collapsed_embeddings,
    count_compositions,
    count_elements,
    effective_rank,
    exploding_embeddings,
)


def healthy(rows=16, dims=32, seed=0):
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed))


def explode(x):
    return exploding_embeddings(x, "system", lambda row: f"row {row}")


def collapse(x, kinds=99):
    return collapsed_embeddings(x, "system", kinds)


@given(st.integers(4, 40), st.integers(2, 40), st.integers(0, 2**20))
def test_random_embeddings_are_healthy(rows, dims, seed):
    x = healthy(rows, dims, seed)
    assert explode(x) == []
    assert collapse(x) == []


def test_exploding_embeddings_name_largest_row():
    x = healthy()
    x[5] *= 2e3
    x[9] *= 9e3
    (problem,) = explode(x)
    assert problem.check == "exploding_embeddings"
    assert "row 9" in problem.message
    assert "2 of 16" in problem.message
    assert explode(x / 1e4) == []


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_embedding_names_row(value):
    x = healthy()
    x[3, 0] = value
    (problem,) = explode(x)
    assert (problem.check, problem.severity) == ("non_finite_embeddings", "error")
    assert "row 3" in problem.message
    assert collapse(x) == []


def test_equal_embeddings_are_collapsed():
    x = healthy(1).repeat(16, 1) + 1e-6 * healthy()
    assert "point in the same direction" in collapse(x)[0].message


def test_parallel_embeddings_are_collapsed():
    x = healthy(1) * torch.arange(1, 17)[:, None]
    assert "point in the same direction" in collapse(x)[0].message


def test_constant_dimensions_are_collapsed():
    x = healthy()
    x[:, :20] = 7.0
    x = x / x.norm(dim=1, keepdim=True)
    x[:, :20] = 0.1
    x[:, 20:] = torch.nn.functional.normalize(x[:, 20:], dim=1)
    assert x.var() > 1e-3
    assert "20 of 32 dimensions" in collapse(x)[0].message


def test_embeddings_on_one_line_are_collapsed():
    x = 10.0 + healthy(16, 1) * healthy(1, 32, seed=1) + 1e-3 * healthy(seed=2)
    assert "effective rank 1.0" in collapse(x)[0].message
    assert collapse(x, kinds=2) == []  # two elements may well have two embeddings


def test_sums_over_atoms_are_healthy():
    x = (1.0 + 0.2 * healthy()) * torch.arange(1, 17)[:, None] * 4.0
    assert collapse(x) == []


@pytest.mark.parametrize("shape", [(3, 8), (8, 1), (0, 8)])
def test_few_rows_give_no_problem(shape):
    x = torch.ones(shape)
    assert collapse(x) == []
    assert explode(x) == []
    assert collapse(torch.ones(8, 8), kinds=1) == []


@given(st.integers(1, 8))
def test_effective_rank_counts_equal_directions(rank):
    x = torch.zeros(16, 8, dtype=torch.float64)
    x[torch.arange(rank), torch.arange(rank)] = 2.5
    assert effective_rank(x) == pytest.approx(rank)


def test_counts_match_compositions_and_elements(samples, make_batch):
    view = view_batch(make_batch(samples[:4]))
    numbers = [sample["atomic_numbers"] for sample in samples[:4]]
    assert count_elements(view, len(view.pos)) == len(set(torch.cat(numbers).tolist()))
    assert count_compositions(view, 4) == len({tuple(sorted(n.tolist())) for n in numbers})
    moved = {**samples[0], "pos": samples[0]["pos"] + 0.1}
    assert count_compositions(view_batch(make_batch([samples[0], moved, moved])), 3) == 2
    assert count_compositions(view_batch(make_batch([samples[0], samples[0]])), 2) == 1
    assert count_elements(None, 5) == count_compositions(None, 5) == 5
