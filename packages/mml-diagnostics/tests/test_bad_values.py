"""NaN and Inf in gradients and in batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.non_finite.bad_values import (
    bad_inputs,
    count_non_finite,
    gradient_norms,
    gradient_values,
    zero_non_finite,
)
from torch import nn

VALUES = st.lists(st.sampled_from([0.0, 1.5, -2.0, torch.nan, torch.inf, -torch.inf]), min_size=1, max_size=6)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_counts_and_norms_agree(values):
    gradients = [torch.tensor(v) for v in values]
    counts = count_non_finite(gradients)
    norms = gradient_norms(gradients)
    for gradient, norm, (nan, inf) in zip(gradients, norms, counts, strict=True):
        before = gradient.clone()
        assert (nan, inf) == (int(before.isnan().sum()), int(before.isinf().sum()))
        assert torch.isfinite(torch.tensor(norm)) == (nan + inf == 0)
        zero_non_finite(gradient)
        assert gradient.tolist() == [v if torch.isfinite(torch.tensor(v)) else 0.0 for v in before.tolist()]


def test_norms_cover_mixed_types_and_scales():
    gradients = [
        torch.tensor([3.0, 4.0]),
        torch.full((4,), 2.0, dtype=torch.bfloat16),
        torch.zeros(2, 2).double(),
    ]
    assert gradient_norms(gradients) == [5.0, 4.0, 0.0]
    assert gradient_norms(gradients, scale=torch.tensor(2.0)) == [2.5, 2.0, 0.0]
    assert gradient_norms([]) == []


def test_sparse_values_are_zeroed_in_place():
    table = nn.Embedding(3, 2, sparse=True)
    table(torch.tensor([1, 1])).sum().backward()
    assert gradient_values(table.weight).tolist() == [[2.0, 2.0]]
    gradient_values(table.weight)[0, 0] = torch.nan
    zero_non_finite(gradient_values(table.weight))
    assert table.weight.grad.to_dense().tolist() == [[0, 0], [0, 2], [0, 0]]
    with pytest.raises(ValueError, match="must have a gradient"):
        gradient_values(nn.Parameter(torch.ones(1)))


def test_healthy_batch_has_no_bad_inputs(samples, make_batch):
    assert bad_inputs(make_batch(samples)) == []


@pytest.mark.parametrize(
    ("key", "index", "sample"), [("pos", 5, 1), ("offsets", 13, 1), ("cell", 2, 2), ("targets.energy", 0, 0)]
)
def test_bad_value_names_its_sample(samples, make_batch, key, index, sample):
    batch = make_batch(samples[:4])  # 4, 5, 6, 4 atoms; 12, 20, 30, 12 edges
    holder = batch
    for part in key.split("."):
        holder = holder[part]
    holder.view(len(holder), -1)[index, 0] = torch.inf
    (found,) = bad_inputs(batch)
    assert str(found) == f"{key} of sample 'test/{sample:06d}'"


@pytest.mark.parametrize("key", ["targets.energy", "charge", "magmom"])
def test_missing_label_is_valid_if_it_is_masked(samples, make_batch, key):
    batch = make_batch(samples[:4]) | {"charge": torch.zeros(4, 1), "magmom": torch.zeros(19)}
    holder = batch
    for part in key.split("."):
        holder = holder[part]
    holder.view(len(holder), -1)[2, 0] = torch.nan
    assert len(bad_inputs(batch)) == 1
    assert bad_inputs(batch, masked=True) == []
    batch["pos"] = torch.full((19, 3), torch.nan)
    assert len(bad_inputs(batch, masked=True)) == 4
    holder.view(len(holder), -1)[2, 0] = torch.inf
    assert any(key in found.keys for found in bad_inputs(batch, masked=True))


def test_equal_counts_are_not_confused():
    batch = {"pos": torch.zeros(4, 3), "natoms": torch.tensor([1, 3]), "offsets": torch.zeros(4, 3)}
    batch["edge_index"] = torch.tensor([[1, 1, 2, 3], [2, 3, 1, 1]])
    batch["offsets"][0, 0] = torch.nan
    assert [str(found) for found in bad_inputs(batch)] == ["offsets of structure 1 of the batch"]
    fewer = batch | {"edge_index": batch["edge_index"][:, :2], "offsets": batch["offsets"][:2]}
    assert [str(found) for found in bad_inputs(fewer)] == ["offsets of structure 1 of the batch"]


def test_all_bad_samples_and_keys_are_listed(samples, make_batch):
    samples[2]["pos"][:] = torch.nan
    samples[2]["targets"]["energy"].fill_(torch.nan)
    samples[0]["cell"][0, 0, 0] = torch.inf
    found = bad_inputs(make_batch(samples[:4]))
    assert [(f.sample, set(f.keys)) for f in found] == [
        ("sample 'test/000000'", {"cell"}),
        ("sample 'test/000002'", {"pos", "targets.energy"}),
    ]


def test_plain_batch_names_the_row():
    y = torch.zeros(4, 2)
    y[3, 1] = torch.nan
    assert [str(f) for f in bad_inputs((torch.ones(4), y))] == ["row 3 of batch[1]"]
    assert [str(f) for f in bad_inputs({"loss_weight": torch.tensor(torch.nan)})] == ["row 0 of loss_weight"]
    assert bad_inputs(None) == []
    assert bad_inputs({"empty": torch.zeros(0, 3)}) == []
