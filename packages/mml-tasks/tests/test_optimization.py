import math

import pytest
import torch
from mml_tasks.optimization import known_schedulers, make_scheduler


def make(name, kwargs, steps=120.0, lr=0.01):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    return make_scheduler(name, kwargs, optimizer, lr, lambda: steps)


def test_horizon_defaults_to_run():
    one_cycle = make("OneCycleLR", {"max_lr": 0.1})
    assert (one_cycle["scheduler"].total_steps, one_cycle["interval"]) == (120, "step")
    cosine = make("CosineAnnealingLR", {})
    assert (cosine["scheduler"].T_max, cosine["interval"]) == (120, "step")


def test_one_cycle_peaks_at_lr():
    config = make("OneCycleLR", {"pct_start": 0.5}, steps=10)
    rates = []
    for _ in range(10):
        rates.append(config["scheduler"].get_last_lr()[0])
        config["scheduler"].optimizer.step()
        config["scheduler"].step()
    assert max(rates) == pytest.approx(0.01)
    assert max(rates) in rates[3:6]


def test_given_horizon_counts_epochs():
    assert make("CosineAnnealingLR", {"T_max": 7})["interval"] == "epoch"
    config = make("CosineAnnealingLR", {"T_max": 7, "interval": "step", "frequency": 2})
    assert (config["scheduler"].T_max, config["interval"], config["frequency"]) == (7, "step", 2)
    assert make("OneCycleLR", {"epochs": 2, "steps_per_epoch": 5})["scheduler"].total_steps == 10


def test_other_schedulers_count_epochs():
    assert make("ExponentialLR", {"gamma": 0.9}, steps=math.inf)["interval"] == "epoch"


def test_plateau_monitors_val_loss():
    assert make("ReduceLROnPlateau", {})["monitor"] == "val_loss"
    assert make("ReduceLROnPlateau", {"monitor": "val_force_mae"})["monitor"] == "val_force_mae"


def test_unknown_scheduler_lists_known_ones():
    assert {"OneCycleLR", "CosineAnnealingLR", "ReduceLROnPlateau"} <= set(known_schedulers())
    with pytest.raises(
        ValueError, match=r"\['OneCycle'\] is not a known scheduler, expected one of .*'OneCycleLR'"
    ):
        make("OneCycle", {})


def test_unknown_arguments_list_known_ones():
    with pytest.raises(ValueError, match=r"unknown arguments \['gama'\], expected some of .*'gamma'"):
        make("ExponentialLR", {"gama": 0.9})


def test_invalid_arguments_name_scheduler():
    with pytest.raises(
        ValueError, match=r"scheduler_kwargs\['ExponentialLR'\] has invalid arguments: .*gamma"
    ):
        make("ExponentialLR", {})


def test_endless_run_requires_horizon():
    with pytest.raises(ValueError, match="needs total_steps, which cannot be inferred"):
        make("OneCycleLR", {}, steps=math.inf)
