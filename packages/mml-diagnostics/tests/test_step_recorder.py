"""Recorded parameters, gradients and moments of real optimizer steps."""

import pytest
import torch
from mml_diagnostics.spikes.step_recorder import StepRecorder, is_adam_like
from torch import nn


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam])
def test_rows_equal_optimizer_state(cls):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    parameters = list(module.parameters())
    optimizer = cls(parameters, lr=0.01)
    recorder = StepRecorder(module, optimizer, length=5, fraction=1.0, gradients=True)
    expected = []
    for step in range(9):
        optimizer.zero_grad()
        module(torch.randn(8, 3)).square().mean().backward()
        assert recorder.record() == (step > 0)  # Adam has moments from the second step on
        if step:
            states = [optimizer.state[p] for p in parameters]
            updates = [s["exp_avg"] / (s["exp_avg_sq"].sqrt() + 1e-8) for s in states]
            row = ([p.detach() for p in parameters], [p.grad for p in parameters], updates)
            expected.append([torch.cat([x.flatten() for x in part]) for part in row])
        optimizer.step()
    assert len(recorder) == 5
    rows = recorder.rows()
    order = [name for name, _ in module.named_parameters()]
    assert recorder.sample.names == order
    for i, kind in enumerate(("parameters", "gradients", "updates")):
        assert rows[kind].dtype == torch.float32
        assert torch.allclose(rows[kind], torch.stack([row[i] for row in expected[-5:]]))


def test_optimizer_without_moments_records_parameters():
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    assert not is_adam_like(optimizer)
    recorder = StepRecorder(layer, optimizer, length=4, fraction=1.0, gradients=False)
    assert recorder.record()
    rows = recorder.rows()
    assert list(rows) == ["parameters"]
    assert recorder.trace(rows, 1.0) is None


def test_non_finite_steps_are_left_out():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    recorder = StepRecorder(layer, optimizer, 10, 1.0, True)
    for step in range(8):
        optimizer.zero_grad()
        layer(torch.randn(4, 3)).square().sum().backward()
        if step == 5:
            layer.bias.grad[0] = torch.inf
        assert recorder.record() == (step > 0)
        if step != 5:  # a gradient scaler skips such a step
            optimizer.step()
    rows = recorder.rows()
    assert {len(x) for x in rows.values()} == {6}
    assert all(x.isfinite().all() for x in rows.values())
    assert len(recorder.trace(rows, 1.0).gradients) == 6
