from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import AtomWeightedL1, ConditionalHuberLoss, L2NormLoss
from mml_tasks.losses.loss_terms import IGNORED, LossTerms, combine, labeled, loss_terms
from torch import nn

ELEMENTWISE = [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(delta=0.3), nn.SmoothL1Loss(), nn.SoftMarginLoss()]
ROWWISE = [L2NormLoss(), ConditionalHuberLoss(0.3, [1.0], [1.0, 0.1])]


class MeanSquare(nn.Module):
    def forward(self, output, target):
        return (output - target).square().mean()


def mean(terms: LossTerms) -> torch.Tensor:
    return combine({"x": terms})[0]["x"]


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 9),
    loss=st.sampled_from([*ELEMENTWISE, *ROWWISE, MeanSquare()]),
    share=st.floats(0, 1),
)
def test_missing_rows_are_excluded(seed, rows, loss, share):
    generator = torch.Generator().manual_seed(seed)
    output, target = torch.randn(2, rows, 3, generator=generator, dtype=torch.float64)
    missing = torch.rand(rows, generator=generator) < share
    labels = torch.where(missing.view(-1, 1), torch.nan, target)
    output.requires_grad_()
    terms = loss_terms(loss, output, labels)
    (gradient,) = torch.autograd.grad(mean(terms), output)
    assert torch.equal(gradient[missing], torch.zeros_like(gradient[missing]))
    if missing.all():
        assert mean(terms).item() == 0.0
        return
    expected = loss(output[~missing], target[~missing])
    torch.testing.assert_close(mean(terms), expected)
    (wanted,) = torch.autograd.grad(expected, output)
    torch.testing.assert_close(gradient, wanted)


@given(seed=st.integers(0, 10_000), cut=st.integers(1, 8), loss=st.sampled_from([*ELEMENTWISE, *ROWWISE]))
def test_parts_sum_to_whole(seed, cut, loss):
    generator = torch.Generator().manual_seed(seed)
    output, target = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64)
    target[torch.rand(9, 3, generator=generator) < 0.3] = torch.nan
    whole = loss_terms(loss, output, target)
    parts = [loss_terms(loss, output[s], target[s]) for s in (slice(0, cut), slice(cut, None))]
    torch.testing.assert_close(parts[0].total + parts[1].total, whole.total)
    torch.testing.assert_close(parts[0].weight + parts[1].weight, whole.weight)


def test_missing_components_are_excluded():
    output, target = torch.zeros(2, 3), torch.tensor([[1.0, torch.nan, 1.0], [2.0, 2.0, 2.0]])
    terms = loss_terms(nn.MSELoss(), output, target)
    assert (terms.total.item(), terms.weight.item()) == (14.0, 5.0)
    terms = loss_terms(L2NormLoss(), output, target)  # a length needs all components
    assert (terms.total.item(), terms.weight.item()) == (pytest.approx(12**0.5), 1.0)


@given(
    seed=st.integers(0, 10_000),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.2]),
    missing=st.integers(0, 4),
)
def test_cross_entropy_divides_by_class_weights(seed, weighted, smoothing, missing):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 4, generator=generator)
    classes = torch.randint(0, 4, (6,), generator=generator)
    options: dict[str, Any] = {"label_smoothing": smoothing}
    if weighted:
        options["weight"] = torch.rand(4, generator=generator) + 0.1
    expected = nn.CrossEntropyLoss(**options)(logits[missing:], classes[missing:])
    classes[:missing] = IGNORED
    torch.testing.assert_close(mean(loss_terms(nn.CrossEntropyLoss(**options), logits, classes)), expected)


def test_ignored_class_is_excluded():
    logits, classes = torch.randn(5, 3), torch.tensor([0, 1, 2, IGNORED, 1])
    loss = nn.CrossEntropyLoss(ignore_index=1)
    torch.testing.assert_close(mean(loss_terms(loss, logits, classes)), loss(logits[[0, 2]], classes[[0, 2]]))


def test_sum_reduction_stays_sum():
    output, target = torch.randn(2, 7, 3)
    loss = nn.L1Loss(reduction="sum")
    torch.testing.assert_close(mean(loss_terms(loss, output, target)), loss(output, target))
    assert loss.reduction == "sum"


def test_half_precision_sums_in_float32():
    output = torch.full((1000, 3), 64.0, dtype=torch.bfloat16)
    terms = loss_terms(nn.MSELoss(), output, torch.zeros_like(output))
    assert terms.total.dtype == torch.float32
    assert mean(terms).item() == 4096.0


def test_failed_loss_restores_reduction():
    loss = nn.MSELoss()
    with pytest.raises(RuntimeError):
        loss_terms(loss, torch.zeros(2, 3), torch.zeros(2, 4))
    assert loss.reduction == "mean"


def test_per_atom_losses_receive_natoms():
    output, target, natoms = torch.zeros(2, 1), torch.tensor([[2.0], [torch.nan]]), torch.tensor([2, 5])
    terms = loss_terms(AtomWeightedL1(), output, target, natoms)
    assert (terms.total.item(), terms.weight.item()) == (1.0, 1.0)


class Columns(nn.Module):
    reduction = "mean"

    def forward(self, output, target):
        return (output - target).sum(0)


def test_invalid_shapes_are_refused():
    with pytest.raises(ValueError, match=r"the loss has shape \[3\] for a target of shape \[5, 3\]"):
        loss_terms(Columns(), torch.zeros(5, 3), torch.zeros(5, 3))


def test_labeled_marks_labels():
    assert labeled(torch.tensor([1.0, torch.nan])).tolist() == [True, False]
    assert labeled(torch.tensor([3, IGNORED])).tolist() == [True, False]
    assert labeled(torch.tensor([True, False])).tolist() == [True, True]
