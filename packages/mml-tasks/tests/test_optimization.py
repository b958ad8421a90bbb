import math

import pytest
import torch
from mml_tasks.optimization import known_schedulers, make_scheduler


def make(name, kwargs, steps=120.0, lr=0.01):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    return make_scheduler(name, kwargs, optimizer, lr, lambda: steps)


def test_a_missing_horizon_is_the_runs_number_of_steps():
    one_cycle = make("OneCycleLR", {"max_lr": 0.1})
    assert (one_cycle["scheduler"].total_steps, one_cycle["interval"]) == (120, "step")
    cosine = make("CosineAnnealingLR", {})
    assert (cosine["scheduler"].T_max, cosine["interval"]) == (120, "step")


def test_one_cycle_peaks_at_the_tasks_learning_rate():
    config = make("OneCycleLR", {"pct_start": 0.5}, steps=10)
    rates = []
    for _ in range(10):
        rates.append(config["scheduler"].get_last_lr()[0])
        config["scheduler"].optimizer.step()
        config["scheduler"].step()
    assert max(rates) == pytest.approx(0.01)
    assert max(rates) in rates[3:6]


def test_a_given_horizon_counts_epochs_unless_told_otherwise():
    assert make("CosineAnnealingLR", {"T_max": 7})["interval"] == "epoch"
    config = make("CosineAnnealingLR", {"T_max": 7, "interval": "step", "frequency": 2})
    assert (config["scheduler"].T_max, config["interval"], config["frequency"]) == (7, "step", 2)
    assert make("OneCycleLR", {"epochs": 2, "steps_per_epoch": 5})["scheduler"].total_steps == 10


def test_schedulers_without_a_horizon_count_epochs():
    assert make("ExponentialLR", {"gamma": 0.9}, steps=math.inf)["interval"] == "epoch"


def test_plateaus_are_looked_for_in_the_validation_loss():
    assert make("ReduceLROnPlateau", {})["monitor"] == "val_loss"
    assert make("ReduceLROnPlateau", {"monitor": "val_force_mae"})["monitor"] == "val_force_mae"


def test_an_unknown_scheduler_lists_the_known_ones():
    assert {"OneCycleLR", "CosineAnnealingLR", "ReduceLROnPlateau"} <= set(known_schedulers())
    with pytest.raises(
        ValueError, match=r"\['OneCycle'\] is not a known scheduler, expected one of .*'OneCycleLR'"
    ):
        make("OneCycle", {})


def test_unknown_arguments_list_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown arguments \['gama'\], expected some of .*'gamma'"):
        make("ExponentialLR", {"gama": 0.9})


def test_missing_or_bad_arguments_name_the_scheduler():
    with pytest.raises(
        ValueError, match=r"scheduler_kwargs\['ExponentialLR'\] has invalid arguments: .*gamma"
    ):
        make("ExponentialLR", {})


def test_a_run_without_an_end_gives_no_horizon():
    with pytest.raises(ValueError, match="needs total_steps, which cannot be inferred"):
        make("OneCycleLR", {}, steps=math.inf)
