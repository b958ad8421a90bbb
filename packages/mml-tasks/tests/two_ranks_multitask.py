"""Train two tasks on two data sets; as a script, on one of two ranks. test_multitask_absent.py runs it.

A forked process could not continue after its parent has used threads of torch.
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


def mixed(samples: Any) -> dict[str, Any]:
    """Collate pairs of data set and sample in their order, so that a batch may lack a data set."""
    names = dict.fromkeys(name for name, _ in samples)
    return {name: collate([sample for other, sample in samples if other == name]) for name in names}


def train_mixed(rank: int | None) -> dict[str, torch.Tensor]:
    """Train on samples of two data sets, and return weights and metrics of the last epoch.

    Rank zero has samples of the first data set only.
    """
    samples = make_samples(17)
    md, bulk = ([(name, s) for s in part] for name, part in (("md", samples[:6]), ("bulk", samples[10:12])))
    parts = [md[:3] + md[4:5], md[3:4] + md[5:6] + bulk]
    batches = [part[i : i + 2] for i in (0, 2) for part in parts]
    if rank is not None:
        loader = DataLoader(
            [each for batch in batches[rank::2] for each in batch], batch_size=2, collate_fn=mixed
        )
    else:
        loader = DataLoader([each for batch in batches for each in batch], batch_size=4, collate_fn=mixed)
    torch.manual_seed(0)
    module = MultiTaskLitModule(
        ("md", ForceRegressionTask(encoder_class=ToyEncoder, lr=0.01)),
        ("bulk", ScalarRegressionTask(encoder_class=ToyEncoder, task_keys=["band_gap"], lr=0.02)),
    )
    options = (
        {"strategy": "ddp_find_unused_parameters_true", "devices": 2} if rank is not None else {"devices": 1}
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **options,
    )
    trainer.fit(module, loader, loader)
    logged = {name: value for name, value in trainer.callback_metrics.items() if not name.endswith("_step")}
    return {**module.state_dict(), **logged}


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
    rank = int(os.environ["LOCAL_RANK"])
    torch.save({"both": state, "mixed": train_mixed(rank)}, Path(sys.argv[1]) / f"{rank}.pt")
