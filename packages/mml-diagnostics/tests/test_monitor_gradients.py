"""MonitorGradients logs consistent norms, and reports zero and repeated gradients."""

import csv

import pytest
import torch
from mml_diagnostics import MonitorGradients
from pytorch_lightning.loggers import CSVLogger


def test_norms_reach_loggers(samples, make_loader, make_task, task_class, make_trainer, tmp_path):
    seen = []

    class Noted(task_class):
        def on_before_optimizer_step(self, optimizer):
            parts = self.encoder.parameters(), self.output_heads.parameters(), self.parameters()
            seen.append([float(torch.cat([p.grad.flatten() for p in part]).norm()) for part in parts])

    callback = MonitorGradients(step_frequency=2)
    logger = CSVLogger(tmp_path, name="csv")
    make_trainer(callback, logger=logger).fit(make_task(Noted), make_loader(samples))
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("gradients/total")]
    assert [int(row["step"]) for row in rows] == [0, 2]
    for row, step in zip(rows, (0, 2), strict=True):
        keys = ("encoder", "output_heads", "total")
        assert [float(row[f"gradients/{key}"]) for key in keys] == pytest.approx(seen[step], rel=1e-4)
    assert callback.findings == []


def test_zero_and_repeated_gradients_are_reported(samples, make_loader, make_task, task_class, make_trainer):
    class Sick(task_class):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) + 0 * self.encoder.update.bias.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    task = make_task(Sick)
    task.encoder.update.register_forward_hook(lambda module, args, output: output * 0)
    callback = MonitorGradients(step_frequency=2)
    make_trainer(callback).fit(task, make_loader(samples[:8] * 4))
    found = {(f.check, f.where): f.count for f in callback.findings}
    assert found[("zero_gradient", "encoder.update.weight")] == 2
    assert found[("repeated_gradients", "")] == 1
    assert ("zero_gradient", "encoder.embedding.weight") not in found


@pytest.mark.parametrize(
    ("options", "message"),
    [({"step_frequency": 0}, "step_frequency must be .*got 0"), ({"eps": -1.0}, "eps must be .*got -1.0")],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        MonitorGradients(**options)
