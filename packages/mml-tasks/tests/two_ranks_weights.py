"""Run on one of two ranks, and write the observed weights. test_weights_on_two_ranks.py runs it."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from mml_tasks import LinearScalingSchedule, LossScalingScheduler, SoftAdapt, UncertaintyWeighting
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parent))
from conftest import TinyModule

KEYS = ["energy", "force"]
warnings.filterwarnings("ignore")


class Losses(pl.Callback):
    """Losses of every batch."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        self.rows.append([pl_module.last_losses[key].item() for key in KEYS])


class Save(pl.Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step = step
        self.path = path

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def fit(*callbacks: pl.Callback, ckpt_path: Any = None, **options: Any) -> TinyModule:
    module = TinyModule()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    # 13 samples are 7 for each rank, in batches of two: four batches, of different data on each rank
    loader = DataLoader(torch.linspace(0.5, 3.0, 13), batch_size=2)
    trainer.fit(module, loader, ckpt_path=ckpt_path)
    return module


def weights(module: TinyModule) -> list[list[float]]:
    return [list(seen.values()) for _, seen in module.seen]


def main(folder: Path) -> None:
    found: dict[str, Any] = {}
    schedules = [LinearScalingSchedule("energy", 0, 7, "step"), LinearScalingSchedule("force", 0, 1, "epoch")]
    found["scheduler"] = weights(fit(LossScalingScheduler(*schedules), max_epochs=2))
    record = Losses()
    adapt = [SoftAdapt(beta=3.0, every_n_steps=3), record, Save(4, folder / "adapt.ckpt")]
    found["adapt"] = weights(fit(*adapt, max_epochs=3))
    found["losses"] = record.rows
    found["adapt resumed"] = weights(
        fit(SoftAdapt(beta=3.0, every_n_steps=3), max_epochs=3, ckpt_path=folder / "adapt.ckpt")
    )
    weighting = UncertaintyWeighting(KEYS)
    module = fit(weighting, max_epochs=2)
    found["log variances"] = weighting.loss.log_variances.tolist()
    found["numbers"] = module.numbers.tolist()
    rank = torch.distributed.get_rank()
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()  # else its threads may end the interpreter by abort


if __name__ == "__main__":
    main(Path(sys.argv[1]))
