"""Labels stay in float64 until references or means are subtracted, at every precision of the trainer."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_tasks import ForceRegressionTask, MultiTaskLitModule, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder
from mml_tasks.trainer.precision import HostLabels

REFERENCE = -5e5
"""Energy per atom in eV, typical of all-electron codes and heavy elements."""


def all_electron(data: Any) -> None:
    """Add a large energy per atom to the labels, in float64."""
    for graph, targets in data.samples:
        targets["energy"] = targets["energy"].double() + REFERENCE * len(graph.pos)


def make_task(mean: float, **options: Any) -> ForceRegressionTask:
    torch.manual_seed(0)
    numbers = {"energy_per_atom_mean": mean, "force_std": 0.9}
    return ForceRegressionTask(ToyEncoder(), normalize_kwargs=numbers, lr=0.01, **options)


def run(data: Any, make_trainer: Any, mean: float, precision: str) -> tuple[Any, dict[str, float], Any]:
    task = make_task(mean)
    trainer = make_trainer(precision=precision, max_epochs=2)
    trainer.fit(task, data)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return task, metrics, make_trainer(precision=precision).predict(task, data.loader())


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_large_energies_train_like_shifted_ones(precision, data, make_trainer):
    _, shifted, small = run(data, make_trainer, -0.1, precision)
    all_electron(data)
    _, found, large = run(data, make_trainer, REFERENCE - 0.1, precision)
    for name, value in shifted.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name
    for with_offset, without in zip(large, small, strict=True):
        energy = with_offset["predictions"]["energy"]
        assert energy.dtype == torch.float64
        offset = REFERENCE * with_offset["natoms"].view(-1, 1).double()
        torch.testing.assert_close(energy - offset, without["predictions"]["energy"], rtol=0, atol=1e-6)


def test_double_precision_covers_graph_and_labels(data, make_trainer):
    seen: dict[str, torch.dtype] = {}

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            found = {name: value for name, value in vars(batch["graph"]).items() if value.is_floating_point()}
            seen.update({name: value.dtype for name, value in (found | batch["targets"]).items()})

    all_electron(data)
    task = make_task(0.0)
    make_trainer(precision="64-true", callbacks=[Look()]).fit(task, data)
    assert {seen[name] for name in ("pos", "cell", "offsets", "energy")} == {torch.float64}


def test_double_precision_resumes_exactly(data, make_trainer, tmp_path):
    trainer = make_trainer(precision="64-true", max_epochs=1)
    trainer.fit(make_task(0.0), data)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    whole, resumed = make_task(0.0), make_task(0.0)
    make_trainer(precision="64-true", max_epochs=2).fit(whole, data)
    make_trainer(precision="64-true", max_epochs=2).fit(resumed, data, ckpt_path=tmp_path / "one.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_float16_weights_are_refused(data, make_trainer):
    with pytest.raises(
        ValueError, match=r"precision='16-true' trains weights in float16, .*Use precision='16-mixed'"
    ):
        make_trainer(precision="16-true").fit(make_task(0.0), data)


def test_fit_restores_trainer(data, make_trainer):
    trainer = make_trainer(precision="bf16-mixed")
    trainer.fit(make_task(0.0), data)
    assert "convert_input" not in vars(trainer.precision_plugin)


def test_device_without_float64_trains_equally(data, make_trainer, monkeypatch):
    """Labels stay on the host. The test runs this code path on the CPU."""
    all_electron(data)
    _, expected, _ = run(data, make_trainer, REFERENCE, "32-true")
    monkeypatch.setattr("mml_tasks.steps.supports_float64", lambda device: False)
    kinds = []
    moved = ForceRegressionTask.transfer_batch_to_device

    def watch(self: Any, batch: Any, *args: Any) -> Any:
        kinds.append(type(batch.get("targets")))
        return moved(self, batch, *args)

    monkeypatch.setattr(pl.LightningModule, "transfer_batch_to_device", watch)
    _, found, _ = run(data, make_trainer, REFERENCE, "32-true")
    assert HostLabels in kinds
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_tasks_keep_labels_apart(data, make_trainer, monkeypatch):
    monkeypatch.setattr("mml_tasks.steps.supports_float64", lambda device: False)
    task = MultiTaskLitModule(
        ("md", make_task(-0.1)),
        (
            "md",
            ScalarRegressionTask(ToyEncoder(), task_keys=["energy"], normalize_kwargs={"energy_mean": 7.0}),
        ),
    )
    trainer = make_trainer()
    trainer.fit(task, data)
    assert trainer.callback_metrics["md/ScalarRegressionTask/val_energy_mae"].isfinite()
