"""Gradients accumulated over uneven batches equal those of one batch with all structures."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_tasks import ForceRegressionTask, MultiTaskLitModule, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder
from mml_tasks.trainer.accumulation import WINDOW_KEY
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from torch.utils.data import DataLoader

spec = importlib.util.spec_from_file_location("rank_cases", Path(__file__).with_name("rank_cases.py"))
assert spec is not None
assert spec.loader is not None
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)

# The quantiles of a target's size are those of each batch; an epoch without labels is refused.
CASES = [name for name in cases.CASES if name not in ("masked quantile", "no labels at all")]


TRAINER = {**cases.TRAINER, "max_epochs": 1, "limit_val_batches": 0}


class Gradients(pl.Callback):
    """Records the gradient of every optimizer step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        found = pl_module.named_parameters()
        self.seen.append({name: p.grad.clone() for name, p in found if p.grad is not None})


def gradients(task: Any, loaders: Any, tmp_path: Path, **options: Any) -> list[dict[str, torch.Tensor]]:
    task.double()
    task.lr = 0.0
    callback = Gradients()
    callbacks = [callback, *options.pop("callbacks", [])]
    defaults = {**TRAINER, "callbacks": callbacks, "default_root_dir": tmp_path}
    pl.Trainer(**{**defaults, **options}).fit(task, loaders, loader(cases.samples_of("force"), 8))
    return callback.seen


def make_case(name: str) -> pl.LightningModule:
    torch.manual_seed(0)
    return cases.CASES[name]()


def loader(samples: Any, batch_size: int) -> DataLoader:
    return DataLoader(samples, batch_size=batch_size, collate_fn=cases.collate)


@pytest.mark.parametrize("name", CASES)
def test_window_equals_one_batch(name, tmp_path):
    """Batches of 3, 3 and 2 structures in windows of two: the last window has one batch."""
    samples = cases.samples_of(name)
    task = make_case(name)
    found = gradients(task, loader(samples, 3), tmp_path, accumulate_grad_batches=2)
    expected = [
        gradients(make_case(name), loader(part, 8), tmp_path)[0] for part in (samples[:6], samples[6:])
    ]
    assert len(found) == len(expected)
    for step, wanted in zip(found, expected, strict=True):
        assert step.keys() == wanted.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(step[key], value, rtol=1e-6, atol=1e-9, msg=key)


def test_changing_windows_are_exact(tmp_path):
    samples = cases.samples_of("masked")
    windows = GradientAccumulationScheduler({0: 2, 1: 3})
    options: dict[str, Any] = {"limit_train_batches": 3, "max_epochs": 2, "callbacks": [windows]}
    found = gradients(make_case("masked"), loader(samples, 2), tmp_path, **options)
    parts = [samples[:4], samples[4:6], samples[:6]]
    expected = [gradients(make_case("masked"), loader(part, 8), tmp_path)[0] for part in parts]
    for step, wanted in zip(found, expected, strict=True):
        for key, value in wanted.items():
            torch.testing.assert_close(step[key], value, rtol=1e-6, atol=1e-9, msg=key)


def test_tasks_have_own_windows(tmp_path):
    masked, plain = cases.samples_of("masked"), cases.samples_of("scalar")

    def run(sizes: tuple[int, int], **options: Any) -> list[dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        task = MultiTaskLitModule(
            ("a", ForceRegressionTask(encoder_class=ToyEncoder)),
            ("b", ScalarRegressionTask(encoder_class=ToyEncoder, task_keys=["band_gap"])),
        )
        for each in task.tasks.values():
            each.lr = 0.0
        loaders = {"a": loader(masked, sizes[0]), "b": loader(plain, sizes[1])}
        return gradients(task, loaders, tmp_path, **options)

    found, wanted = run((3, 3), accumulate_grad_batches=3)[0], run((8, 8))[0]
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-9, msg=key)


def test_plain_runs_do_not_read_ahead(tmp_path):
    class Seen(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            windows.append(len(batch.get(WINDOW_KEY, ())))

    samples, windows = cases.samples_of("force"), []
    for batches, expected in ((3, [3, 3, 3, 1]), (1, [0, 0, 0, 0])):
        windows.clear()
        gradients(
            make_case("force"),
            loader(samples, 2),
            tmp_path,
            callbacks=[Seen()],
            accumulate_grad_batches=batches,
        )
        assert windows == expected
