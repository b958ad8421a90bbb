"""UnusedParametersCallback names unused parameters, and is silent if all parameters are used."""

import pytest
import torch
from mml_diagnostics import UnusedParametersCallback
from torch import nn


def test_healthy_run_is_silent(samples, make_loader, make_task, make_trainer):
    callback = UnusedParametersCallback()
    make_trainer(callback).fit(make_task(), make_loader(samples))
    assert callback.findings == []
    assert callback.steps_checked == 4


@pytest.mark.parametrize(("num_steps", "count"), [(-1, 4), (2, 2)])
def test_unused_and_unoptimized_parameters_are_named(
    num_steps, count, samples, make_loader, make_task, task_class, make_trainer
):
    class Sick(task_class):
        def __init__(self):
            super().__init__()
            self.idle = nn.Linear(2, 2, bias=False)
            self.forgotten = nn.Parameter(torch.ones(1))
            self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

        def configure_optimizers(self):
            return torch.optim.Adam([p for name, p in self.named_parameters() if name != "forgotten"])

    callback = UnusedParametersCallback(num_steps)
    make_trainer(callback).fit(make_task(Sick), make_loader(samples))
    assert [(f.check, f.where, f.count) for f in callback.findings] == [
        ("parameter_without_optimizer", "forgotten", 1),
        ("unused_parameter", "idle.weight", count),
    ]


@pytest.mark.parametrize("num_steps", [0, -2])
def test_invalid_options_are_rejected(num_steps):
    with pytest.raises(ValueError, match=f"num_steps must be positive, or -1 for all steps, got {num_steps}"):
        UnusedParametersCallback(num_steps)
