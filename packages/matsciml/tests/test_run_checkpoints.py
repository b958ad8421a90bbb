import pytest
import torch
from matsciml.runs.run_checkpoints import BestCheckpoint, LastCheckpoint, save_whole
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]
LOSSES = [3.0, 1.0, 2.0]
"""Validation loss of each epoch. The second epoch is the best one."""


class Counter(LightningModule):
    """Module whose only weight is the number of optimizer steps, with the validation losses `LOSSES`."""

    def __init__(self, log=True):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.log_loss = log

    def training_step(self, batch, batch_idx):
        return -self.weight

    def validation_step(self, batch, batch_idx):
        if self.log_loss:
            self.log("val_loss", LOSSES[self.current_epoch], batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def run(folder, *callbacks, module=None, ckpt_path=None, **options):
    trainer = Trainer(
        callbacks=list(callbacks),
        logger=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **{"max_epochs": 3} | options,
    )
    loader = DataLoader(torch.zeros(4, 1), batch_size=1)
    trainer.fit(module or Counter(), loader, loader, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def load(path):
    return torch.load(path, weights_only=True)


def test_best_is_lowest_and_last_is_newest(tmp_path):
    run(tmp_path, BestCheckpoint(tmp_path / "best.ckpt"), LastCheckpoint(tmp_path / "last.ckpt"))
    assert load(tmp_path / "best.ckpt")["epoch"] == 1
    assert load(tmp_path / "best.ckpt")["state_dict"]["weight"] == 8
    assert load(tmp_path / "last.ckpt")["state_dict"]["weight"] == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_continued_run_keeps_best_after_move(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    run(old, BestCheckpoint(old / "best.ckpt"), LastCheckpoint(old / "last.ckpt"), max_epochs=2)
    old.rename(new)
    best = BestCheckpoint(new / "best.ckpt")
    run(new, best, LastCheckpoint(new / "last.ckpt"), ckpt_path=new / "last.ckpt")
    assert load(new / "best.ckpt")["epoch"] == 1
    assert load(new / "last.ckpt")["epoch"] == 2
    assert best.best_model_path == str(new / "best.ckpt")
    assert not old.exists()


def test_new_run_ignores_loss_of_other_run(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    run(one, BestCheckpoint(one / "best.ckpt"), LastCheckpoint(one / "last.ckpt"), max_epochs=2)
    best = BestCheckpoint(other / "best.ckpt")
    run(other, best, ckpt_path=one / "last.ckpt")
    assert load(other / "best.ckpt")["epoch"] == 2
    assert best.best_model_score == LOSSES[2]


def test_missing_val_loss_warns_once(tmp_path, caplog):
    best = BestCheckpoint(tmp_path / "best.ckpt")
    run(tmp_path, best, LastCheckpoint(tmp_path / "last.ckpt"), module=Counter(log=False))
    assert caplog.text.count("val_loss is not logged") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_take_over_replaces_best(tmp_path):
    best = BestCheckpoint(tmp_path / "best.ckpt")
    trainer = run(tmp_path, best)
    best.take_over(trainer, 0.5)
    assert load(tmp_path / "best.ckpt")["state_dict"]["weight"] == 12
    assert best.best_model_score == 0.5


@pytest.mark.parametrize(("interval", "steps"), [(1, [4, 8, 12]), (2, [2, 4, 6, 8, 10, 12])])
def test_last_is_saved_after_each_validation(tmp_path, interval, steps):
    saved = []

    class Recorder(LastCheckpoint):
        def save(self, trainer):
            super().save(trainer)
            saved.append(load(self.path)["global_step"])

    options = {} if interval == 1 else {"val_check_interval": interval}
    run(tmp_path, Recorder(tmp_path / "last.ckpt"), **options)
    assert saved == steps


def test_last_waits_for_accumulation_window(tmp_path):
    saved = []

    class Recorder(LastCheckpoint):
        def save(self, trainer):
            super().save(trainer)
            saved.append(trainer.fit_loop.batch_idx)

    recorder = Recorder(tmp_path / "last.ckpt")
    run(tmp_path, recorder, max_epochs=1, accumulate_grad_batches=2, val_check_interval=1)
    assert set(saved) == {1, 3}


def test_save_whole_replaces_file(tmp_path):
    path = tmp_path / "any.ckpt"
    path.write_text("an older checkpoint")
    trainer = run(tmp_path)
    save_whole(trainer, path, weights_only=True)
    assert load(path)["state_dict"]["weight"] == 12
    assert "optimizer_states" not in load(path)
    assert not path.with_suffix(".partial").exists()
