"""ForwardNaNDetection names the module that produces NaN, and has no hooks until it is armed."""

import pytest
import torch
from mml_diagnostics import ForwardNaNDetection, GradientCheckCallback
from torch import nn


class Poison(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 16)
        self.calls = 0
        self.bad_calls = ()

    def forward(self, h):
        self.calls += 1
        h = self.inner(h)
        if self.calls - 1 in self.bad_calls:
            third = torch.arange(len(h))[:, None] == 2
            h = torch.where(third, torch.log(h - h.detach().max() - 1.0), h)  # of numbers below zero
        return h


@pytest.fixture
def poisoned(task_class, make_task):
    class Poisoned(task_class):
        def __init__(self):
            super().__init__()
            self.output_heads["energy"].insert(0, Poison())

    def make(*bad_calls):
        task = make_task(Poisoned)
        task.output_heads["energy"][0].bad_calls = bad_calls
        return task

    return make


def found(callback):
    return [f for f in callback.findings if f.check == "forward_non_finite"]


def hooks(task):
    return sum(len(m._forward_hooks) for m in task.modules())


def test_always_armed_names_module_and_sample(poisoned, samples, make_loader, make_trainer):
    callback = ForwardNaNDetection(always=True)
    task = poisoned(1, 3)
    make_trainer(GradientCheckCallback(), callback, max_epochs=2).fit(task, make_loader(samples))
    (finding,) = found(callback)
    assert finding.where == "output_heads.energy.0"
    assert (finding.severity, finding.count, finding.first_step, finding.last_step) == ("error", 2, 1, 3)
    assert "output_heads.energy.0 (Poison) contains NaN, but its inputs are finite" in finding.message
    assert "output [8, 16] float32, in [" in finding.message
    assert "Affected: sample 'test/000010'." in finding.message
    assert hooks(task) == 0


@pytest.mark.parametrize("with_check", [True, False])
def test_bad_step_arms_until_found(poisoned, samples, make_loader, make_trainer, with_check):
    task = poisoned(1, 3)
    armed = []

    class Watch(ForwardNaNDetection):
        def on_before_backward(self, trainer, pl_module, loss):
            armed.append((self.armed, hooks(pl_module) > 0))
            super().on_before_backward(trainer, pl_module, loss)
            assert hooks(pl_module) == 0

    callback = Watch()
    others = [GradientCheckCallback()] if with_check else []
    if not with_check:
        task.on_before_optimizer_step = lambda optimizer: [
            p.grad.nan_to_num_(0.0) for p in task.parameters() if p.grad is not None
        ]
    make_trainer(*others, callback, max_epochs=2).fit(task, make_loader(samples))
    # the step at fault, one with hooks that is well, the next at fault: found, and disarmed before backward
    assert armed == [(False, False)] * 2 + [(True, True), (False, True)] + [(False, False)] * 4
    (finding,) = found(callback)
    assert (finding.first_step, finding.count) == (3, 1)
    assert not callback.switched_off


def test_arming_ends_after_limit(poisoned, samples, make_loader, make_trainer):
    task = poisoned(0, 7)
    callback = ForwardNaNDetection(armed_steps=3)
    make_trainer(GradientCheckCallback(), callback, max_epochs=3).fit(task, make_loader(samples))
    assert found(callback) == []
    longer = ForwardNaNDetection(armed_steps=8)
    make_trainer(GradientCheckCallback(), longer, max_epochs=3).fit(poisoned(0, 7), make_loader(samples))
    assert [f.first_step for f in found(longer)] == [7]


def test_healthy_training_has_no_hooks(make_task, samples, make_loader, make_trainer):
    task = make_task()
    counts = []

    class Watch(ForwardNaNDetection):
        def on_before_backward(self, trainer, pl_module, loss):
            counts.append(hooks(pl_module))
            super().on_before_backward(trainer, pl_module, loss)

    make_trainer(GradientCheckCallback(), Watch()).fit(task, make_loader(samples))
    assert counts == [0] * 4
    always = ForwardNaNDetection(always=True)
    make_trainer(always).fit(make_task(), make_loader(samples))
    assert always.findings == []
    assert not always.switched_off


def test_bad_batch_and_bad_weights_are_distinguished(make_task, samples, make_loader, make_trainer):
    samples[3]["offsets"][0, 0] = torch.nan
    callback = ForwardNaNDetection(always=True)
    make_trainer(GradientCheckCallback(), callback).fit(make_task(), make_loader(samples))
    assert found(callback) == []  # GradientCheckCallback names the sample
    samples[3]["offsets"][0, 0] = 0.0
    task = make_task()
    task.encoder.update.weight.data[0, 0] = torch.nan
    callback = ForwardNaNDetection(always=True)
    make_trainer(callback, max_steps=1).fit(task, make_loader(samples))
    (finding,) = found(callback)
    assert finding.where == "encoder.update"
    assert "weights are not finite" in finding.advice


def test_outputs_that_are_objects_are_checked(make_task, samples, make_loader, make_trainer):
    """The encoder itself produces the Inf, outside of its submodules."""
    task = make_task()
    inner = task.encoder.forward

    def forward(batch):
        output = inner(batch)
        output.system_embedding = output.system_embedding / (torch.arange(8.0)[:, None] - 5)
        return output

    task.encoder.forward = forward
    callback = ForwardNaNDetection(always=True)
    make_trainer(callback, max_steps=1).fit(task, make_loader(samples))
    (finding,) = found(callback)
    assert finding.where == "encoder"
    assert "contains Inf" in finding.message
    assert "sample 'test/000005'" in finding.message


def test_state_survives_resume(poisoned, samples, make_loader, make_trainer, tmp_path):
    trainer = make_trainer(GradientCheckCallback(), ForwardNaNDetection())
    task = poisoned(3)
    trainer.fit(task, make_loader(samples))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    callback = ForwardNaNDetection()
    make_trainer(GradientCheckCallback(), callback, max_epochs=2).fit(
        poisoned(1), make_loader(samples), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert [f.first_step for f in found(callback)] == [5]


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"overfit_batches": 1}])
def test_special_runs_succeed(make_task, samples, make_loader, make_trainer, options):
    callback = ForwardNaNDetection(always=True)
    make_trainer(callback, **options).fit(make_task(), make_loader(samples))
    assert callback.findings == []
    assert not callback.switched_off
    with pytest.raises(ValueError, match="armed_steps must be at least 1, got 0"):
        ForwardNaNDetection(armed_steps=0)
