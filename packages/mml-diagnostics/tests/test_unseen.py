"""Side effects of a step, which `unseen` undoes."""

from collections import deque

import pytest
import torch
import torchmetrics
from mml_diagnostics.unseen import unseen
from pytorch_lightning import LightningModule
from torch import nn


class Stateful(LightningModule):
    def __init__(self):
        super().__init__()
        self.norm, self.metric = nn.BatchNorm1d(2), torchmetrics.MeanMetric()
        self.steps, self.total = 1, torch.ones(())
        self.losses, self.last, self.recent = [0.5], {"a": 1}, deque([1, 2])
        self.metric.update(2.0)

    def training_step(self, batch, batch_idx):
        loss = self.norm(batch).square().mean()
        self.metric.update(loss.detach())
        self.steps += 1
        self.total += 1
        self.losses.append(float(loss.detach()))
        self.last.clear()
        self.recent.extend((3, 4))
        self.new = "attribute"
        self.log("loss", loss)
        return loss

    def state(self):
        buffers = {name: buffer.tolist() for name, buffer in self.norm.named_buffers()}
        numbers = (self.metric.update_count, float(self.metric.compute()), self.steps, float(self.total))
        return buffers, numbers, list(self.losses), dict(self.last), list(self.recent), hasattr(self, "new")


@pytest.mark.parametrize("fails", [False, True])
def test_unseen_restores_buffers_metrics_and_attributes(fails):
    module, batch = Stateful(), torch.randn(4, 2)
    losses, before = module.losses, module.state()
    try:
        with unseen(module):
            loss = module.training_step(batch, 0)
            assert module.state() != before
            loss.backward()
            if fails:
                raise RuntimeError("out of memory")
    except RuntimeError:
        assert fails
    assert module.state() == before
    assert module.losses is losses
    assert module.norm.weight.grad is not None


def test_unseen_restores_log_method():
    module = Stateful()
    logged = []
    module.log = lambda name, value: logged.append(name)
    with unseen(module):
        module.training_step(torch.randn(4, 2), 0)
    assert logged == []
    module.training_step(torch.randn(4, 2), 0)
    assert logged == ["loss"]
    assert "log_dict" not in vars(module)
