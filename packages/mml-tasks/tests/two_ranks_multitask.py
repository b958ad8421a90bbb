"""Trains two tasks on two data sets; as a script, on one of two ranks. Started by test_multitask.py.

Not by forking: a process with the threads of a computation behind it may not go on after that.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from mml_tasks import ForceRegressionTask, MultiTaskLitModule, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parent))
from conftest import collate, make_samples


def train_both(batch_size: int, **options: Any) -> dict[str, torch.Tensor]:
    """Train on four samples of each data set for two epochs, and return the weights."""
    samples = make_samples(17)
    loaders = {
        name: DataLoader(part, batch_size=batch_size, collate_fn=collate)
        for name, part in (("md", samples[:4]), ("bulk", samples[10:14]))
    }
    torch.manual_seed(0)
    module = MultiTaskLitModule(
        ("md", ForceRegressionTask(encoder_class=ToyEncoder, lr=0.01)),
        ("bulk", ScalarRegressionTask(encoder_class=ToyEncoder, task_keys=["band_gap"], lr=0.02)),
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **({"devices": 1} | options),
    )
    trainer.fit(module, loaders, loaders)
    return module.state_dict()


if __name__ == "__main__":
    state = train_both(2, strategy="ddp", devices=2)
    torch.save(state, Path(sys.argv[1]) / f"{os.environ['LOCAL_RANK']}.pt")
