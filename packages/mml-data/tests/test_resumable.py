import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from mml_data import MatSciMLDataModule
from pytorch_lightning import Callback, LightningModule, Trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),  # Python 3.12, workers of torch
    # Lightning 2.6 with torch 2.15; not ours.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class Recorder(LightningModule):
    """Model whose weight depends on all batches and their order. It records the samples."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.seen = []
        self.validated = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch_idx, tuple(batch["sample_id"])))
        return (self.weight * batch["targets"]["energy"].double()).sum().cos()

    def validation_step(self, batch, batch_idx):
        self.validated.append(tuple(batch["sample_id"]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class SaveEverywhere(Callback):
    """Callback that saves in every hook in which Lightning saves, and counts the batches so far."""

    def __init__(self, directory):
        self.directory = directory
        self.saved = {}

    def save(self, trainer, module, place):
        name = f"{place}-{len(module.seen)}"
        trainer.save_checkpoint(self.directory / name)
        self.saved[name] = len(module.seen)

    def on_train_batch_end(self, trainer, module, *args):
        self.save(trainer, module, "batch")

    def on_validation_end(self, trainer, module):
        if not trainer.sanity_checking:
            self.save(trainer, module, "validation")

    def on_train_epoch_end(self, trainer, module):
        self.save(trainer, module, "epoch")


def fit(data, callbacks=(), ckpt_path=None, module=None, **options):
    module = module or Recorder()
    options = {"max_epochs": 3, "num_sanity_val_steps": 0} | options
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return module


def check_resume(make_data, directory, places=None, make_module=Recorder, **options):
    saver = SaveEverywhere(directory)
    whole = fit(make_data(), [saver], module=make_module(), **options)
    chosen = {name: seen for name, seen in saver.saved.items() if places is None or name in places}
    assert chosen
    for name, seen in chosen.items():
        rest = fit(make_data(), ckpt_path=directory / name, module=make_module(), **options)
        assert whole.seen[:seen] + rest.seen == whole.seen, name
        assert torch.equal(rest.weight, whole.weight), name
    return whole


def test_resumed_fit_equals_uninterrupted_fit(stored, tmp_path):
    whole = check_resume(lambda: MatSciMLDataModule(train_path=stored, batch_size=5), tmp_path)
    epochs = [[seen for epoch, _, seen in whole.seen if epoch == number] for number in range(3)]
    assert [[len(batch) for batch in epoch] for epoch in epochs] == [[5, 5, 2]] * 3
    orders = [[one for batch in epoch for one in batch] for epoch in epochs]
    assert orders[0] != orders[1] != orders[2]
    assert all(len(set(order)) == 12 for order in orders)


class Scheduled(Recorder):
    """Model that reads the number of steps early, so that Lightning creates the loader early."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        steps = self.trainer.estimated_stepping_batches
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def test_resume_with_early_loader(stored, tmp_path):
    check_resume(lambda: MatSciMLDataModule(train_path=stored, batch_size=5), tmp_path, make_module=Scheduled)


def test_resume_with_workers(stored, tmp_path):
    places = ["batch-2", "batch-4", "epoch-3"]
    check_resume(lambda: MatSciMLDataModule(train_path=stored, batch_size=5, num_workers=2), tmp_path, places)


def test_resume_with_limited_batches(stored, tmp_path):
    def make():
        return MatSciMLDataModule(train_path=stored, batch_size=2)

    options = {"limit_train_batches": 4, "val_check_interval": 2, "max_epochs": 2}
    check_resume(
        make,
        tmp_path,
        ["batch-1", "validation-2", "batch-4", "validation-4", "epoch-4", "batch-6"],
        **options,
    )


def test_resume_with_accumulated_gradients(stored, tmp_path):
    def make():
        return MatSciMLDataModule(train_path=stored, batch_size=2)

    check_resume(make, tmp_path, ["batch-2", "batch-4", "batch-6"], accumulate_grad_batches=2, max_epochs=2)


def test_resume_with_max_steps(stored, tmp_path):
    def make():
        return MatSciMLDataModule(train_path=stored, batch_size=5)

    check_resume(make, tmp_path, ["batch-2", "batch-3", "epoch-3", "batch-4"], max_steps=8, max_epochs=-1)


class Interrupted(Callback):
    """Callback that raises in step `at`, before the optimizer step, and saves as `ModelCheckpoint` does."""

    def __init__(self, at, path):
        self.at, self.path = at, path

    def on_before_backward(self, trainer, module, loss):
        if len(module.seen) == self.at:
            raise RuntimeError("the power failed")

    def on_exception(self, trainer, module, exception):
        trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resume_repeats_interrupted_batch(stored, tmp_path, num_workers):
    def make():
        return MatSciMLDataModule(train_path=stored, batch_size=5, num_workers=num_workers)

    whole = fit(make(), max_epochs=2)
    first = Recorder()
    with pytest.raises(RuntimeError, match="the power failed"):
        fit(make(), [Interrupted(5, tmp_path / "saved")], max_epochs=2, module=first)
    rest = fit(make(), ckpt_path=tmp_path / "saved", max_epochs=2)
    assert first.seen[:4] + rest.seen == whole.seen
    assert torch.equal(rest.weight, whole.weight)


def test_resume_with_other_batch_size_raises(stored, tmp_path):
    saver = SaveEverywhere(tmp_path)
    fit(MatSciMLDataModule(train_path=stored, batch_size=5), [saver], max_epochs=1)
    with pytest.raises(
        ValueError,
        match=r"middle of epoch 0, .* because batch_size was 5 and is now 4; use the same settings",
    ):
        fit(MatSciMLDataModule(train_path=stored, batch_size=4), ckpt_path=tmp_path / "batch-1")
    rest = fit(
        MatSciMLDataModule(train_path=stored, batch_size=4), ckpt_path=tmp_path / "epoch-3", max_epochs=2
    )
    assert [len(seen) for _, _, seen in rest.seen] == [4, 4, 4]


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_overfit_repeats_batches(stored):
    module = fit(MatSciMLDataModule(train_path=stored, batch_size=5), overfit_batches=2, max_epochs=2)
    seen = [ids for _, _, ids in module.seen]
    assert seen[:2] == seen[2:]
    assert seen[0] == tuple(f"toy/{index:06d}" for index in [1, 3, 5, 7, 9])


# Script of each rank: train, save a checkpoint after four steps, and record the samples.
RANK = """
import json, os, sys
from pathlib import Path
import torch
from mml_data import MatSciMLDataModule
from pytorch_lightning import Callback, LightningModule, Trainer

stored, folder, checkpoint = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
options = json.loads(sys.argv[4])


class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.seen, self.validated = [], []

    def training_step(self, batch, batch_idx):
        self.seen.append([self.current_epoch, list(batch["sample_id"]), int(batch["natoms"].sum())])
        return (self.weight * batch["targets"]["energy"].double()).sum().cos()

    def validation_step(self, batch, batch_idx):
        self.validated.append(list(batch["sample_id"]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Save(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if len(module.seen) == 4:
            trainer.save_checkpoint(folder / "four")


module = Recorder()
quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
trainer = Trainer(accelerator="cpu", strategy="ddp", devices=2, max_epochs=2, num_sanity_val_steps=0,
                  callbacks=[Save()], **dict.fromkeys(quiet, False))
trainer.fit(module, datamodule=MatSciMLDataModule(train_path=stored, **options), ckpt_path=checkpoint or None,
            weights_only=True)
text = json.dumps([module.seen, module.validated, module.weight.item()])
(folder / f"seen-{os.environ['RANK']}").write_text(text)
torch.distributed.destroy_process_group()
"""


def on_two_ranks(stored, folder, checkpoint="", **options):
    """Run RANK on two ranks, with gloo on the loopback device, and return their records."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        RANK,
        stored,
        folder,
        str(checkpoint),
        json.dumps(options),
    ]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **common, "OMP_NUM_THREADS": "1", "LOCAL_RANK": str(rank), "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        output = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(output)
    return [json.loads((folder / f"seen-{rank}").read_text()) for rank in range(2)]


@pytest.mark.parametrize("options", [{"batch_size": 2}, {"max_atoms": 8}])
def test_ranks_share_samples_and_resume(stored, tmp_path, options):
    whole = on_two_ranks(stored, tmp_path / "whole", **options)
    for epoch in range(2):
        seen = [
            one for steps, _, _ in whole for number, names, _ in steps if number == epoch for one in names
        ]
        assert sorted(seen) == sorted(
            f"toy/{index:06d}" for index in [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 0, 2]
        )
    validated = {one for _, batches, _ in whole for batch in batches for one in batch}
    assert validated == {"toy/000004", "toy/000006", "toy/000008"}
    assert len(whole[0][0]) == len(whole[1][0])
    assert whole[0][2] == whole[1][2]
    if "max_atoms" in options:
        assert max(num_atoms for steps, _, _ in whole for _, _, num_atoms in steps) <= 8
    rest = on_two_ranks(stored, tmp_path / "rest", tmp_path / "whole" / "four", **options)
    assert [steps[4:] for steps, _, _ in whole] == [steps for steps, _, _ in rest]
    assert [weight for _, _, weight in rest] == [weight for _, _, weight in whole]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_resume_with_budget(stored, tmp_path, stop):
    def data():
        return MatSciMLDataModule(train_path=stored, max_atoms=12, seed=1)

    whole = fit(data(), max_epochs=3)

    class Save(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if len(module.seen) == stop:
                trainer.save_checkpoint(tmp_path / "some.ckpt")

    fit(data(), [Save()], max_epochs=3)
    rest = fit(data(), ckpt_path=tmp_path / "some.ckpt", max_epochs=3)
    assert rest.seen == whole.seen[stop:]
    other = MatSciMLDataModule(train_path=stored, max_atoms=13, seed=1)
    with pytest.raises(ValueError, match="max_atoms was 12 and is now 13; use the same settings"):
        fit(other, ckpt_path=tmp_path / "some.ckpt", max_epochs=3)


@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled")
def test_overfit_with_budget_repeats_batches(stored):
    data = MatSciMLDataModule(train_path=stored, max_atoms=12, seed=1)
    seen = fit(data, max_epochs=2, overfit_batches=2).seen
    batches = [names for _, _, names in seen]
    assert batches[:2] == batches[2:]
    assert len(batches) == 4


def test_checkpoint_restores_seed(stored, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert MatSciMLDataModule(train_path=stored).seed == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    data = MatSciMLDataModule(train_path=stored, val_split=0.5)
    assert data.seed == data.train_dataloader().sampler.seed == 17
    val = data.parts["val"].indices.tolist()
    monkeypatch.setenv("PL_GLOBAL_SEED", "18")
    later = MatSciMLDataModule(train_path=stored, val_split=0.5)
    assert later.parts["val"].indices.tolist() != val
    later.load_state_dict(data.state_dict())
    assert later.parts["val"].indices.tolist() == val
    with pytest.raises(
        ValueError, match=r"written with seed=17 of the data module, got seed=4, .* pass seed=17, or no seed"
    ):
        MatSciMLDataModule(train_path=stored, seed=4).load_state_dict(data.state_dict())
