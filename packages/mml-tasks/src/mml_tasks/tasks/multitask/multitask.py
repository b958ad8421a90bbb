"""Train several tasks, on one or several data sets, with one shared encoder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from mml_tasks.base import BaseTaskModule
from mml_tasks.hyperparameters import plain
from mml_tasks.losses.loss_functions import check_loss_scaling
from mml_tasks.losses.loss_metrics import MeanLoss, loss_metric
from mml_tasks.optimization import make_optimizers
from mml_tasks.pretrained import read_checkpoint
from mml_tasks.protocols import Checkpoint, StepResult, TaskBatch
from mml_tasks.task_scope import TaskScope
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
)
from mml_tasks.trained_module import TrainedModule
from mml_tasks.trainer.lr_scaling import LrScaling

logger = logging.getLogger(__name__)

Stage = Literal["train", "val", "test", "predict"]


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
        self._weights_change = False
        self._seen: dict[str, list[str]] = {stage: [] for stage in ("train", "val", "test")}
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
                task.join_step()  # other ranks may have a batch for this task
                self._add_terms("train", name, task)
                continue
            losses[name] = task.training_step(parts[name], batch_idx)
            self._add_terms("train", name, task)
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
                self._add_terms(stage, name, task)
            elif "graph" not in batch:
                task.join_evaluation(stage)  # other ranks may have a batch for this task
        return found

    def _parts(
        self, batch: JointBatch, stage: Stage, dataloader_idx: int = 0
    ) -> Iterator[tuple[str, BaseTaskModule, TaskBatch]]:
        loaders = getattr(self.trainer, f"{stage}_dataloaders", None) if self._trainer is not None else None
        parts = batches_by_dataset(batch, self.dataset_names, loaders, dataloader_idx)
        for name, task in self.tasks.items():
            part = parts.get(name.rpartition("/")[0])
            if part is not None:
                yield name, task, part

    def _for_prediction(self, batch: JointBatch) -> Iterator[tuple[str, BaseTaskModule, TaskBatch]]:
        if "graph" in batch:
            yield from ((name, task, cast("TaskBatch", batch)) for name, task in self.tasks.items())
        else:
            yield from self._parts(batch, "predict")

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        trainer = self.trainer
        stage: Stage = (
            "predict"
            if trainer.predicting
            else "train"
            if trainer.training
            else "test"
            if trainer.testing
            else "val"
        )
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
        targets = sum(len(task.task_keys or ()) for task in self.tasks.values())
        self.loss_metrics = nn.ModuleDict(
            {
                f"{each}_{kind}": MeanLoss(targets)
                for each in ("train", "val", "test")
                for kind in ("loss", "weighted_loss")
            }
        )

    def on_train_start(self) -> None:
        """Let tasks check their normalizers, check learning-rate schedules, and log the scaled rate."""
        self._each("on_train_start")
        super().on_train_start()

    def on_validation_start(self) -> None:
        """Let every task fill normalizers that do not have statistics yet."""
        self._each("on_validation_start")

    def on_test_start(self) -> None:
        """Let every task fill normalizers that do not have statistics yet."""
        self._each("on_test_start")

    def on_predict_start(self) -> None:
        """Let every task fill normalizers that do not have statistics yet."""
        self._each("on_predict_start")

    def on_train_epoch_end(self) -> None:
        """Let every task report missing labels, and log the weighted loss of the epoch."""
        self._each("on_train_epoch_end")
        self._log_loss("train")

    def on_validation_epoch_end(self) -> None:
        """Let tasks report missing labels, log the weighted loss, and warn about tasks without a batch."""
        self._each("on_validation_epoch_end")
        self._log_loss("val")
        self._report_left_out("val")

    def on_test_epoch_end(self) -> None:
        """Let tasks report missing labels, log the weighted loss, and warn about tasks without a batch."""
        self._each("on_test_epoch_end")
        self._log_loss("test")
        self._report_left_out("test")

    def _each(self, hook: str) -> None:
        for task in self.tasks.values():
            getattr(task, hook)()

    def _add_terms(self, stage: str, name: str, task: BaseTaskModule) -> None:
        """Add the loss of a task's batch to the loss of the epoch."""
        if not self.is_running() or not task.last_terms:
            return
        if name not in self._seen[stage]:
            self._seen[stage].append(name)
        names = list(self.tasks)
        earlier = [self.tasks[other] for other in names[: names.index(name)]]
        first = sum(len(other.task_keys or ()) for other in earlier)
        metrics, terms = self.loss_metrics, task.last_terms
        final, now = self.final_loss_scaling.get(name, 1.0), self.task_loss_scaling.get(name, 1.0)
        weights = [final * task.final_loss_scaling[key] for key in terms]
        weights_now = [now * task.task_loss_scaling.get(key, 1.0) for key in terms]
        found = list(terms.values())
        loss_metric(metrics, f"{stage}_loss").update(found, weights, first)
        loss_metric(metrics, f"{stage}_weighted_loss").update(found, weights_now, first)
        self._weights_change |= any(isinstance(w, Tensor) for w in weights_now) or weights != weights_now

    def _log_loss(self, stage: str) -> None:
        """Log the weighted loss of the epoch as a metric, which Lightning computes on all ranks together."""
        names = [f"{stage}_loss"] + [f"{stage}_weighted_loss"] * self._weights_change
        for name in names:
            in_bar = name in ("val_loss", "test_loss")
            self.log(name, loss_metric(self.loss_metrics, name), prog_bar=in_bar, batch_size=1)

    def _report_left_out(self, stage: str) -> None:
        left_out = [name for name in self.tasks if name not in self._seen[stage]]
        self._seen[stage] = []
        if left_out and not self.trainer.sanity_checking:
            logger.warning(
                "%s_loss does not include %s, because no batch of their data was evaluated. Check that each "
                "data set has a %s split, and increase limit_%s_batches, which may exclude the last data "
                "sets",
                stage,
                ", ".join(left_out),
                stage,
                stage,
            )

    # ---------------------------------------------------------------- optimization

    def configure_optimizers(self) -> Any:
        """Return schedulers, and one AdamW with a group for the encoder and one for the rest of each task."""
        seen = {id(parameter) for parameter in self.encoder.parameters()}
        groups = [{"params": list(self.encoder.parameters()), **self._encoder_options()}]
        for task in self.tasks.values():
            own = [parameter for parameter in task.parameters() if id(parameter) not in seen]
            groups.append({"params": own, "lr": task.lr, "weight_decay": task.weight_decay})
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if parameter.requires_grad]
            group["lr"] = self.scaled(group["lr"])
        trained = [group for group in groups if group["params"]]
        return make_optimizers(trained, self.scheduler_kwargs, self.schedule_steps)

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
        stored = {
            key: value
            for key, value in checkpoint["hyper_parameters"].items()
            if key in ("task_scaling", "scheduler_kwargs", "lr_scaling")
        }
        options = checkpoint["hyper_parameters"].get("encoder_opt_kwargs") or {}
        module = cls(*tasks, **(stored | options | kwargs))
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=strict)
        return module if map_location is None else module.to(map_location)
