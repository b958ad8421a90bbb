"""Clipping, precision and resumption of Lightning's automatic optimization; test_two_ranks.py tests DDP."""

from collections.abc import Iterator
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_tasks import BinaryClassificationTask, ForceRegressionTask, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder
from pytorch_lightning.callbacks import ModelCheckpoint

NORMALIZE = {"energy_per_atom_mean": -0.1, "force_std": 0.9}


def force(**options: Any) -> ForceRegressionTask:
    torch.manual_seed(0)
    return ForceRegressionTask(ToyEncoder(), normalize_kwargs=NORMALIZE, compute_stress=True, **options)


def scalar(**options: Any) -> ScalarRegressionTask:
    torch.manual_seed(0)
    return ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"], **options)


class Gradients(pl.Callback):
    """Records the gradient of every optimizer step as one vector."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step > len(self.seen):
            found = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
            self.seen.append(torch.cat(found).clone())


def gradients(trainer_options: dict[str, Any], make_trainer: Any, data: Any, task: Any) -> list[torch.Tensor]:
    callback = Gradients()
    make_trainer(callbacks=[callback], **trainer_options).fit(task, data)
    return callback.seen


def test_gradients_are_clipped(data, make_trainer):
    free = gradients({}, make_trainer, data, force(lr=0.0))
    assert min(gradient.norm() for gradient in free) > 0.01
    clipped = gradients({"gradient_clip_val": 0.01}, make_trainer, data, force(lr=0.0))
    for before, after in zip(free, clipped, strict=True):
        assert after.norm().item() == pytest.approx(0.01, rel=1e-3)
        torch.testing.assert_close(after / after.norm(), before / before.norm(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("make", [force, scalar])
def test_mixed_precision_trains_closely(make, data, make_trainer):
    tasks = {precision: make() for precision in ("32-true", "bf16-mixed")}
    losses = {}
    for precision, task in tasks.items():
        trainer = make_trainer(precision=precision, max_epochs=3)
        trainer.fit(task, data)
        losses[precision] = trainer.callback_metrics["train_loss"].item()
        result = trainer.test(task, data, verbose=False)[0]
        assert all(torch.isfinite(torch.tensor(value)) for value in result.values())
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.05)
    for parameter in tasks["bf16-mixed"].parameters():
        assert parameter.dtype == torch.float32


def test_mixed_precision_outputs_are_float32(batch):
    for value in vars(batch["graph"]).values():
        if value.is_floating_point():
            value.data = value.data.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = scalar().validation_step(batch, 0)
    assert result["predictions"]["band_gap"].dtype == torch.float64
    assert torch.equal(result["targets"]["band_gap"], batch["targets"]["band_gap"])


def test_frozen_parameters_are_not_optimized(data, make_trainer):
    task = force(lr=0.1)
    task.encoder.requires_grad_(False)
    before = {key: value.clone() for key, value in task.encoder.state_dict().items()}
    head = task.output_heads["energy"].layers[0].weight.clone()
    make_trainer().fit(task, data)
    for key, value in task.encoder.state_dict().items():
        assert torch.equal(value, before[key])
    assert not torch.equal(task.output_heads["energy"].layers[0].weight, head)


# ---------------------------------------------------------------- resuming


class Loader:
    """Loader whose order depends on the epoch, and which continues at the position of a checkpoint."""

    def __init__(self, samples: list[Any], collate: Any, batch_size: int = 3) -> None:
        self.samples, self.collate, self.batch_size = samples, collate, batch_size
        self.epoch = self.position = 0

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self.position == len(self):
            self.epoch, self.position = self.epoch + 1, 0
        while self.position < len(self):
            order = torch.randperm(len(self.samples), generator=torch.Generator().manual_seed(self.epoch))
            chosen = order[self.position * self.batch_size :][: self.batch_size]
            self.position += 1
            yield self.collate([self.samples[index] for index in chosen])

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


class KilledError(Exception):
    pass


class Kill(pl.Callback):
    """Ends the run within an optimizer step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            raise KilledError


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided")
@pytest.mark.parametrize("kind", ["force", "auto with references", "binary"])
@pytest.mark.parametrize("step", range(1, 9))
def test_killed_run_resumes_exactly(kind, step, data, make_trainer, collate_samples, tmp_path):
    """The run has nine steps in 2.25 epochs, a schedule, weight decay and missing labels."""
    for index in (1, 4, 5):
        for key in ("energy", "force"):
            data.samples[index][1][key].fill_(torch.nan)

    def run(seed: int, callbacks: list[Any], ckpt_path: Any = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        # With total_steps: to estimate them, Lightning makes the loader before it restores the position.
        schedule = {"OneCycleLR": {"total_steps": 9}}
        options: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1, "scheduler_kwargs": schedule}
        if kind == "binary":
            task: Any = BinaryClassificationTask(ToyEncoder(), task_keys=["is_metal"], **options)
        else:
            numbers = {"auto": True, "energy_reference": "auto"} if kind != "force" else NORMALIZE
            task = ForceRegressionTask(ToyEncoder(), normalize_kwargs=numbers, **options)
        loader = Loader(data.samples, collate_samples)
        trainer = make_trainer(max_epochs=3, max_steps=9, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(task, loader, data.loader(), ckpt_path=ckpt_path)
        return task.state_dict()

    whole = run(0, [ModelCheckpoint(tmp_path / "whole", save_top_k=0)])
    every = ModelCheckpoint(tmp_path / "killed", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(KilledError):
        run(0, [every, Kill(step)])
    resumed = run(
        1, [ModelCheckpoint(tmp_path / "again", save_top_k=0)], tmp_path / f"killed/step={step}.ckpt"
    )
    assert whole.keys() == resumed.keys()
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key


def test_checkpoint_has_plain_types(data, make_trainer, tmp_path):
    """A later version can read the checkpoint without the classes of this one."""
    task, trainer = force(loss_func="L1Loss"), make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    checkpoint = torch.load(tmp_path / "task.ckpt", weights_only=True)
    kinds: set[type] = set()

    def visit(value: Any) -> None:
        kinds.add(type(value))
        if isinstance(value, dict):
            for key, item in value.items():
                visit(key)
                visit(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)

    visit(checkpoint)
    assert {kind.__module__.split(".")[0] for kind in kinds} <= {"builtins", "collections", "torch"}, kinds
