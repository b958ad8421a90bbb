"""ManualGradientClip clips all parameters together, like torch and Lightning."""

import logging

import pytest
import torch
from mml_diagnostics import ManualGradientClip


def train(make_task, task_class, make_trainer, make_loader, samples, *callbacks, **options):
    seen = []

    class Noted(task_class):
        def optimizer_step(self, *args, **kwargs):
            super().optimizer_step(*args, **kwargs)
            seen.append(torch.cat([p.grad.flatten() for p in self.parameters()]))

    task = make_task(Noted)
    make_trainer(*callbacks, **options).fit(task, make_loader(samples))
    return torch.stack(seen), torch.cat([p.detach().flatten() for p in task.parameters()])


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping_equals_trainer(make_task, task_class, make_trainer, make_loader, samples, algorithm):
    things = make_task, task_class, make_trainer, make_loader, samples
    ours = train(*things, ManualGradientClip(0.05, algorithm))
    theirs = train(*things, gradient_clip_val=0.05, gradient_clip_algorithm=algorithm)
    assert torch.allclose(ours[0], theirs[0])
    assert torch.allclose(ours[1], theirs[1])
    sizes = ours[0].norm(dim=1) if algorithm == "norm" else ours[0].abs().amax(1)
    assert torch.allclose(sizes, torch.tensor(0.05))
    assert train(*things)[0].norm(dim=1).min() > 0.05


def test_verbose_logs_norms(make_task, make_trainer, make_loader, samples, caplog):
    with caplog.at_level(logging.INFO, "mml_diagnostics"):
        make_trainer(ManualGradientClip(0.05, verbose=True)).fit(make_task(), make_loader(samples))
    assert caplog.text.count("clipped to 0.05") == 4


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
def test_invalid_value_is_rejected(value):
    with pytest.raises(ValueError, match="value must be"):
        ManualGradientClip(value)


def test_unknown_algorithm_is_rejected():
    with pytest.raises(ValueError, match="got 'max'"):
        ManualGradientClip(1.0, "max")
