"""The training loss of an interrupted epoch covers the whole epoch."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_tasks import ForceRegressionTask, MultiTaskLitModule
from mml_tasks.testing import ToyEncoder
from torch.utils.data import DataLoader


class Resumable(DataLoader):
    """Ordered loader that continues after the batches that a checkpoint has seen."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.done = self.skip = 0

    def __iter__(self) -> Any:
        self.done = self.skip
        for index, batch in enumerate(super().__iter__()):
            if index >= self.skip:
                self.done += 1
                yield batch
        self.done = self.skip = 0

    def state_dict(self) -> dict[str, int]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skip = state["done"]


class Save(pl.Callback):
    def __init__(self, path: Any, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def make_task(kind: str) -> Any:
    torch.manual_seed(0)
    task = ForceRegressionTask(encoder_class=ToyEncoder, normalize_kwargs={"force_std": 0.9}, lr=0.01)
    return task if kind == "one task" else MultiTaskLitModule(("md", task))


@pytest.mark.parametrize("kind", ["one task", "several"])
@pytest.mark.parametrize("step", [4, 5])
def test_interrupted_epoch_logs_its_whole_loss(kind, step, data, make_trainer, collate_samples, tmp_path):
    data.samples[1][1]["energy"].fill_(torch.nan)

    def loader() -> Any:
        return Resumable(data.samples, batch_size=4, collate_fn=collate_samples)

    def run(callbacks: list[Any], ckpt_path: Any = None) -> dict[str, float]:
        trainer = make_trainer(max_epochs=2, callbacks=callbacks)
        trainer.fit(make_task(kind), loader(), data.loader(), ckpt_path=ckpt_path)
        found = trainer.callback_metrics
        return {name: value.item() for name, value in found.items() if not name.endswith("_step")}

    whole = run([Save(tmp_path / "mid.ckpt", step)])
    resumed = run([], tmp_path / "mid.ckpt")
    assert "train_loss" in whole
    assert any(name.endswith("train_energy_missing") for name in whole)
    assert resumed == pytest.approx(whole, rel=1e-6)
