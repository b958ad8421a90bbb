"""Schedules and adaptive weights in two processes that communicate through gloo."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mml_tasks.weights.soft_adapt import soft_adapt_weights

SCRIPT = Path(__file__).with_name("two_ranks_weights.py")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory, on_two_ranks) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    on_two_ranks(SCRIPT, folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_schedule_counts_steps_of_rank(ranks):
    """The older toolkit used the length of the loader before it was divided among ranks."""
    for found in ranks:
        assert found["scheduler"] == [[step, step // 4] for step in range(8)]


def test_ranks_have_weights_of_mean_losses(ranks):
    first, second = (torch.tensor(found["losses"]) for found in ranks)
    assert not torch.equal(first, second), "the data of the ranks differ"
    means = ((first + second) / 2).view(4, 3, 2).mean(1).tolist()
    expected = [[1.0, 1.0]] * 6
    for i in (1, 2):
        expected += [[2 * w for w in soft_adapt_weights(means[i], means[i - 1], beta=3.0)]] * 3
    assert ranks[0]["adapt"] == ranks[1]["adapt"]
    for found, wanted in zip(ranks[0]["adapt"], expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-5)


def test_adaptive_weights_resume_on_all_ranks(ranks):
    """The checkpoint was written after the first epoch, within a window of three steps."""
    assert ranks[0]["adapt resumed"] == ranks[1]["adapt resumed"]
    for found, whole in zip(ranks[0]["adapt resumed"], ranks[0]["adapt"][4:], strict=True):
        assert found == pytest.approx(whole, rel=1e-5)


def test_ranks_learn_same_uncertainties(ranks):
    assert ranks[0]["log variances"] == ranks[1]["log variances"]
    assert ranks[0]["numbers"] == ranks[1]["numbers"]
    assert all(value != 0 for value in ranks[0]["log variances"])
