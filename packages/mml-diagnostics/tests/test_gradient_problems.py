"""Texts of the problems that GradientCheckCallback reports."""

from collections import Counter

import pytest
from mml_diagnostics.non_finite.gradient_problems import (
    bad_layer,
    describe_batches,
    shorten,
    small_gradients,
    stopped,
)
from mml_diagnostics.non_finite.replay import StepBatch


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("", ""),
        ("a", "a"),
        ("abcd", "a, b, c, d"),
        ("abcde", "a, b, c, ... e"),
        ("abcdefg", "a, b, c, ... g"),
    ],
)
def test_shorten_keeps_first_three_and_last(names, text):
    assert shorten(list(names)) == text


def test_batches_are_described_by_their_samples():
    batches = [StepBatch(3, {"sample_id": ["md/1", "md/2"]}, {}), StepBatch(4, [1.0], {})]
    assert describe_batches(batches) == "batch 3 (samples 'md/1', 'md/2'), batch 4"
    assert describe_batches([]) == "no batch"


def test_small_gradients_name_most_frequent_parameters():
    counts = Counter(a=1, b=9, c=3, d=4, e=2)
    problem = small_gradients(steps=9, checked=10, thres=1e-3, counts=counts)
    assert problem.message.endswith("(steps): b (9), d (4), c (3), e (2).")
    assert problem.message.startswith("On 9 of 10 checked steps")


def test_bad_layer_limits_claim_to_this_rank():
    one, several = (bad_layer("head.weight", "NaN.", "Zeroed.", several_ranks=n) for n in (False, True))
    assert one.where == several.where == "head.weight"
    assert "batch are finite. " in one.advice
    assert "batch are finite on this rank. " in several.advice


def test_stopped_lists_reported_places():
    assert "Reported: a, b." in stopped(3, 7, 4, 8, ["a", "b"]).message
    assert "Reported" not in stopped(3, 7, 4, 8, []).message
