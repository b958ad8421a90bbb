"""Train several tasks, on one or several data sets, with one shared encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from mml_samples import Batch
from torch import Tensor, nn

from mml_tasks.base import BaseTaskModule
from mml_tasks.hyperparameters import plain
from mml_tasks.losses.loss_functions import check_loss_scaling
from mml_tasks.optimization import make_optimizers
from mml_tasks.pretrained import read_checkpoint
from mml_tasks.protocols import Checkpoint, StepResult
from mml_tasks.task_scope import TaskScope
from mml_tasks.tasks.multitask.multitask_absent import join_evaluation, join_step
from mml_tasks.tasks.multitask.multitask_arguments import (
    check_options,
    check_tasks,
    set_task_keys,
    share_encoder,
    task_weights,
)
from mml_tasks.tasks.multitask.multitask_batches import JointBatch, batches_by_dataset
from mml_tasks.tasks.multitask.multitask_checkpoint import (
    CHECKPOINT_KEY,
    described_tasks,
    rebuilt_tasks,
    restore_tasks,
    stored_options,
)
from mml_tasks.tasks.multitask.multitask_loss import JointLoss
from mml_tasks.tasks.multitask.multitask_optimizer import parameter_groups
from mml_tasks.trained_module import TrainedModule
from mml_tasks.trainer.lr_scaling import LrScaling
from mml_tasks.trainer.stages import Stage, stage_of


class MultiTaskLitModule(TrainedModule):
    """Train several tasks together, on one or several data sets, with one encoder and one optimizer.

    The loss is ``sum(task_loss_scaling[name] * loss of the task)`` over the tasks whose data set is in the
    batch. A task is named ``"<data set>/<class of the task>"``. It logs the same metrics as when it is
    trained alone, prefixed with this name: ``emt/ForceRegressionTask/val_force_mae``. ``train_loss``,
    ``val_loss`` and ``test_loss`` are the weighted sums of the tasks' losses over an epoch.

    A training batch is a dict from data set name to batch, as produced by loaders in a dict. With a single
    data set, the batch of that data set is accepted as well. For validation, testing and prediction, loaders
    in a dict are matched to data sets by name, and loaders in a list by position, in the order in which the
    data sets first appear in ``tasks``.

    Parameters
    ----------
    *tasks
        Pairs of data set name and task. All tasks share the encoder of the first one; the encoders of the
        other tasks must have the same class and the same weight shapes, and are replaced. Each task keeps its
        own learning rate, weight decay, target weights and normalizers. Schedulers and ``lr_scaling`` are
        arguments of this module instead.
    task_scaling
        Weights of the tasks' losses, either in the order of the tasks or by name; 1.0 for tasks without one.
    task_keys
        Targets of tasks that were created without targets: a dict from data set name to a list of targets, or
        to a dict from class name of the task to a list of targets.
    scheduler_kwargs, lr_scaling
        See `BaseTaskModule`.
    log_embeddings, log_embeddings_every_n_steps
        Arguments of the older toolkit, see `BaseTaskModule`.
    **encoder_opt_kwargs
        Options of AdamW for the encoder's parameters. ``lr`` and ``weight_decay`` default to those of the
        first task.

    Attributes
    ----------
    task_loss_scaling
        Live weights of the tasks, by name.

    Raises
    ------
    TypeError
        If a positional argument is not a pair of a name and a task.
    ValueError
        If no tasks are given, a data set has two tasks of the same class, the encoders differ, or an argument
        names an unknown task.

    Notes
    -----
    The encoder runs once per task, because force tasks need their own derivatives. If a data set is missing
    from some batches, DDP needs ``find_unused_parameters``.
    """

    def __init__(
        self,
        *tasks: tuple[str, BaseTaskModule],
        task_scaling: Sequence[float] | Mapping[str, float] | None = None,
        task_keys: Mapping[str, Sequence[str] | Mapping[str, Sequence[str]]] | None = None,
        scheduler_kwargs: dict[str, dict[str, Any]] | None = None,
        lr_scaling: LrScaling | None = None,
        log_embeddings: bool = False,
        log_embeddings_every_n_steps: int = 50,
        **encoder_opt_kwargs: Any,
    ) -> None:
        super().__init__(scheduler_kwargs, lr_scaling, log_embeddings, log_embeddings_every_n_steps)
        check_tasks(tasks)
        check_options(encoder_opt_kwargs)
        self.encoder = tasks[0][1].encoder
        self.dataset_names = tuple(dict.fromkeys(dataset for dataset, _ in tasks))
        self.task_map = nn.ModuleDict({dataset: nn.ModuleDict() for dataset in self.dataset_names})
        for dataset, task in tasks:
            group = cast("nn.ModuleDict", self.task_map[dataset])
            share_encoder(task, self.encoder, tasks[0][1])
            group[type(task).__name__] = task
            name = f"{dataset}/{type(task).__name__}"
            task.scope = TaskScope(self, name, dataset, self.dataset_names)
        self.encoder_opt_kwargs = encoder_opt_kwargs
        self.task_loss_scaling = task_weights(task_scaling, list(self.tasks))
        self.joint_loss = JointLoss(self.loss_metrics)
        set_task_keys(self.task_map, task_keys or {})
        first = tasks[0][1].hparams
        self.save_hyperparameters(
            {
                "task_scaling": plain(dict(self.task_loss_scaling), "task_scaling"),
                "scheduler_kwargs": plain(scheduler_kwargs, "scheduler_kwargs"),
                "lr_scaling": lr_scaling,
                "encoder_opt_kwargs": plain(encoder_opt_kwargs, "encoder_opt_kwargs"),
                # `from_pretrained_encoder` of any task reads these.
                "encoder_class": first.get("encoder_class"),
                "encoder_kwargs": first.get("encoder_kwargs"),
            }
        )

    @property
    def tasks(self) -> dict[str, BaseTaskModule]:
        """The tasks by name."""
        return {
            f"{dataset}/{kind}": cast("BaseTaskModule", task)
            for dataset, group in self.task_map.items()
            for kind, task in cast("nn.ModuleDict", group).items()
        }

    # ---------------------------------------------------------------- steps

    def forward(self, batch: JointBatch) -> dict[str, dict[str, Tensor]]:
        """Return every output in physical units, by task.

        A batch without data set names is passed to all tasks.
        """
        return {name: task(part) for name, task, part in self._for_prediction(batch)}

    def training_step(self, batch: JointBatch, batch_idx: int) -> Tensor:
        """Return this rank's loss of a batch; its mean over ranks and batches is the loss of the step."""
        if self.is_running():
            self.restore_epoch(batch_idx)
        losses, parts = {}, {name: part for name, _, part in self._parts(batch, "train")}
        for name, task in self.tasks.items():
            if name not in parts:
                join_step(task)  # other ranks may have a batch for this task
                self._add_loss("train", name)
                continue
            losses[name] = task.training_step(parts[name], batch_idx)
            self._add_loss("train", name)
        check_loss_scaling(self.task_loss_scaling, self.tasks)
        weighted = [self.task_loss_scaling.get(name, 1.0) * loss for name, loss in losses.items()]
        total = torch.stack(weighted).sum()
        if self.is_running():
            options: dict[str, Any] = {"on_step": True, "on_epoch": False, "prog_bar": True}
            self.log("train_loss_step", total.detach(), batch_size=1, **options)
        return total

    def validation_step(
        self, batch: JointBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, StepResult]:
        """Log losses and metrics, and return the output of each task's validation step by task name."""
        return self._evaluate(batch, batch_idx, "val", dataloader_idx)

    def test_step(self, batch: JointBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, StepResult]:
        """Log losses and metrics, and return the output of each task's test step by task name."""
        return self._evaluate(batch, batch_idx, "test", dataloader_idx)

    def predict_step(
        self, batch: JointBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, StepResult]:
        """Return each task's predictions in physical units, and the names of the samples."""
        parts = self._parts(batch, "predict", dataloader_idx)
        return {name: task.predict_step(part, batch_idx) for name, task, part in parts}

    def predict(self, batch: JointBatch) -> dict[str, dict[str, Any]]:
        """Predict a batch without a trainer, by task, see `BaseTaskModule.predict`.

        A batch without data set names is passed to all tasks.
        """
        return {name: task.predict(part) for name, task, part in self._for_prediction(batch)}

    def _evaluate(
        self, batch: JointBatch, batch_idx: int, stage: Literal["val", "test"], dataloader_idx: int
    ) -> dict[str, StepResult]:
        found, parts = {}, {name: part for name, _, part in self._parts(batch, stage, dataloader_idx)}
        for name, task in self.tasks.items():
            if name in parts:
                step = task.validation_step if stage == "val" else task.test_step
                found[name] = step(parts[name], batch_idx)
                self._add_loss(stage, name)
            elif "graph" not in batch:
                join_evaluation(task, stage)  # other ranks may have a batch for this task
        return found

    def _parts(
        self, batch: JointBatch, stage: Stage, dataloader_idx: int = 0
    ) -> Iterator[tuple[str, BaseTaskModule, Batch]]:
        loaders = getattr(self.trainer, f"{stage}_dataloaders", None) if self._trainer is not None else None
        parts = batches_by_dataset(batch, self.dataset_names, loaders, dataloader_idx)
        for name, task in self.tasks.items():
            part = parts.get(name.rpartition("/")[0])
            if part is not None:
                yield name, task, part

    def _for_prediction(self, batch: JointBatch) -> Iterator[tuple[str, BaseTaskModule, Batch]]:
        if "graph" in batch:
            yield from ((name, task, cast("Batch", batch)) for name, task in self.tasks.items())
        else:
            yield from self._parts(batch, "predict")

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        stage = stage_of(self.trainer)
        for name, task, part in self._parts(batch, stage, dataloader_idx):
            task.check_batch(part)
            dataset = name.rpartition("/")[0]
            if "graph" in batch:
                batch = task.prepare_batch(batch)
            else:
                batch = {**batch, dataset: task.prepare_batch(batch[dataset])}
        return super()._on_before_batch_transfer(batch, dataloader_idx)

    # ---------------------------------------------------------------- hooks that are forwarded to tasks

    def build(self, stage: str) -> None:
        """Set up every task with its data."""
        for task in self.tasks.values():
            task.trainer = self.trainer
            task.setup(stage)
        self.joint_loss.build({name: task.task_keys or [] for name, task in self.tasks.items()})

    def on_train_start(self) -> None:
        """Let tasks check their normalizers, check learning-rate schedules, and log the scaled rate."""
        self._each("on_train_start")
        super().on_train_start()

    def fill_from_data(self) -> None:
        """Let every task fill normalizers that do not have statistics yet."""
        self._each("fill_from_data")

    def on_train_epoch_end(self) -> None:
        """Let every task report missing labels, and log the weighted loss of the epoch."""
        self._each("on_train_epoch_end")
        self.joint_loss.log(self, "train")

    def on_validation_epoch_end(self) -> None:
        """Let tasks report missing labels, log the weighted loss, and warn about tasks without a batch."""
        self._each("on_validation_epoch_end")
        self.joint_loss.log(self, "val")
        self.joint_loss.report_left_out("val", self.trainer.sanity_checking)

    def on_test_epoch_end(self) -> None:
        """Let tasks report missing labels, log the weighted loss, and warn about tasks without a batch."""
        self._each("on_test_epoch_end")
        self.joint_loss.log(self, "test")
        self.joint_loss.report_left_out("test", self.trainer.sanity_checking)

    def _add_loss(self, stage: str, name: str) -> None:
        """Add the loss of a task's batch to the loss of the epoch."""
        if self.is_running():
            task, final = self.tasks[name], self.final_loss_scaling.get(name, 1.0)
            finals = {key: final * weight for key, weight in task.final_loss_scaling.items()}
            now = self.task_loss_scaling.get(name, 1.0)
            weights = {key: now * task.task_loss_scaling.get(key, 1.0) for key in task.last_terms}
            self.joint_loss.add(stage, name, task.last_terms, finals, weights)

    def _each(self, hook: str) -> None:
        for task in self.tasks.values():
            getattr(task, hook)()

    # ---------------------------------------------------------------- optimization

    def configure_optimizers(self) -> Any:
        """Return schedulers, and one AdamW with a group for the encoder and one for the rest of each task."""
        groups = parameter_groups(self.encoder, self._encoder_options(), list(self.tasks.values()))
        for group in groups:
            group["lr"] = self.scaled(group["lr"])
        return make_optimizers(groups, self.scheduler_kwargs, self.schedule_steps)

    def learning_rate(self) -> float:
        """Return the learning rate of the encoder before it is scaled."""
        lr: float = self._encoder_options()["lr"]
        return lr

    def _encoder_options(self) -> dict[str, Any]:
        first = next(iter(self.tasks.values()))
        return {"lr": first.lr, "weight_decay": first.weight_decay} | self.encoder_opt_kwargs

    # ---------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save a description of the tasks in plain types, from which `load_from_checkpoint` rebuilds them."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[CHECKPOINT_KEY] = described_tasks(self.tasks)

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Pass the checkpoint data of each task to that task.

        Raises
        ------
        ValueError
            If the tasks of the checkpoint differ from those of this module.
        """
        super().on_load_checkpoint(checkpoint)
        restore_tasks(self.tasks, checkpoint)

    def continue_as_new_run(self) -> None:
        """Treat a loaded checkpoint as the start of a new run, which may use other data."""
        super().continue_as_new_run()
        self._each("continue_as_new_run")

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        map_location: Any = None,
        strict: bool = True,
        encoder: nn.Module | None = None,
        **kwargs: Any,
    ) -> Self:
        """Rebuild the module and its tasks from a checkpoint, which is read with ``weights_only=True``.

        Parameters
        ----------
        checkpoint_path
            Path of the checkpoint file.
        map_location
            Device to which the module is moved. Default: the CPU.
        strict
            Whether the names of the weights in the checkpoint and in the module must match exactly.
        encoder
            Encoder with the same architecture as the checkpoint's. Required if the tasks were created with an
            encoder instance instead of ``encoder_class``.
        **kwargs
            Arguments that replace those of the checkpoint.

        Raises
        ------
        FileNotFoundError
            If the checkpoint does not exist.
        ValueError
            If the file is not a checkpoint, or is not a checkpoint of a `MultiTaskLitModule`.
        """
        checkpoint = read_checkpoint(checkpoint_path)
        tasks = rebuilt_tasks(checkpoint, encoder)
        module = cls(*tasks, **(stored_options(checkpoint) | kwargs))
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=strict)
        return module if map_location is None else module.to(map_location)
