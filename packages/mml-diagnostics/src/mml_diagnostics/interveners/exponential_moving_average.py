"""ExponentialMovingAverageCallback: an average of the weights that is used for evaluation and checkpoints."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mml_diagnostics._lightning import EMAWeightAveraging, LightningModule, Trainer

logger = logging.getLogger(__name__)

# These strategies shard the weights, so that no rank has all of them.
SHARDED = ("DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy")

LIVE_KEY, STATE_KEY = "current_model_state", "averaging_state"  # keys in a checkpoint, as named by Lightning


def averaged_tensors(module: torch.nn.Module, use_buffers: bool = True) -> list[Tensor]:
    """Return the tensors of ``module`` that are averaged, each once, in the order of their names.

    These are the parameters and, with ``use_buffers``, the running statistics: buffers whose name begins with
    ``running_``, as in batch norm. Other buffers are constants or counts, such as the reference energies of a
    normalizer, and are not averaged. Integer tensors are not averaged either.
    """
    found: list[Tensor] = list(module.parameters())
    if use_buffers:
        named = module.named_buffers()
        found += [buffer for name, buffer in named if name.rpartition(".")[2].startswith("running_")]
    return [tensor for tensor in found if tensor.is_floating_point() or tensor.is_complex()]


class ExponentialMovingAverageCallback(EMAWeightAveraging):
    r"""Keep an exponential moving average of the weights, and use it to evaluate and save the model.

    After an optimizer step, the average of each weight is updated as
    :math:`\bar w \leftarrow \bar w + (1 - \text{decay}) (w - \bar w)`. The first update sets the average to
    the current weights. From then on, the average is used as follows:

    ==================================== ==============================================================
    validation during the fit            the average, from ``on_validation_start`` to ``on_validation_end``
    checkpoint                           ``state_dict`` contains the average; ``current_model_state``
                                         contains the live weights, from which a resumed run continues
                                         bit for bit
    module after the fit                 the average
    test, validate, predict after it     the average; with ``ckpt_path``, the average in the checkpoint
    other code that reads ``state_dict`` the average (``load_from_checkpoint``, ``from_pretrained_encoder``)
    training                             the live weights
    ==================================== ==============================================================

    Before the first update (``update_starting_at_step``, ``update_starting_at_epoch``) the live weights are
    used in all of these cases, and a checkpoint is the same as without this callback. A checkpoint without an
    average can be resumed with this callback; the average then starts from the weights at the first update.

    Parameters and running statistics (``running_mean``, ``running_var``) are averaged. All other buffers,
    such as those of normalizers, are never changed by this callback. The average has the precision of the
    weights, but at least float32.

    Parameters
    ----------
    decay
        Weight of the previous average in an update, from 0 to 1.
    verbose
        Log level of this module's logger.
    device
        Device on which the average is stored. ``None`` stores it on the device of the weights.
    use_buffers
        Whether to average running statistics. If False, the running statistics of the live weights are used.
    update_every_n_steps
        Number of optimizer steps per update. The average is updated after the first step of each interval. 0
        updates it at the end of each epoch instead.
    update_starting_at_step
        Index of the first optimizer step, from 0, after which the average is updated.
    update_starting_at_epoch
        Index of the first epoch, from 0, in which the average is updated. If both are given, averaging starts
        when both are reached.

    Raises
    ------
    ValueError
        If ``decay`` is outside 0 to 1, if ``verbose`` is not a log level, or if a number of steps or epochs
        is negative. At the start of a fit: if the strategy shards the weights over ranks, or if a checkpoint
        callback has ``save_weights_only=True``.
    ImportError
        If Lightning is older than 2.6.
    TypeError
        At the start of a fit, if the module is a ``lightning.pytorch`` module and ``pytorch_lightning`` is
        installed as well. Lightning's averaging supports only modules of its own package.
    """

    def __init__(
        self,
        decay: float = 0.99,
        verbose: str = "WARN",
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
    ) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be from 0 to 1, got {decay}")
        if verbose not in logging.getLevelNamesMapping():
            raise ValueError(f'verbose must be the name of a log level, such as "INFO", got {verbose!r}')
        for name, number in (
            ("update_every_n_steps", update_every_n_steps),
            ("update_starting_at_step", update_starting_at_step),
            ("update_starting_at_epoch", update_starting_at_epoch),
        ):
            if number is not None and number < 0:
                raise ValueError(f"{name} must be at least 0, got {number}")
        super().__init__(
            device=device,
            use_buffers=use_buffers,
            decay=decay,
            update_every_n_steps=update_every_n_steps,
            update_starting_at_step=update_starting_at_step,
            update_starting_at_epoch=update_starting_at_epoch,
        )
        self.decay = decay
        self._average: list[Tensor] = []  # empty before the first update
        self._live: list[Tensor] = []  # a copy of the live weights, while the module contains the average
        self._updates = 0
        self._validating = False
        logger.setLevel(verbose)
        logger.info("Averaging weights with decay %g.", decay)

    # ---------------------------------------------------------------- the average

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the average is updated after an optimizer step or an epoch, both counted from 0.

        For updates after steps, ``update_starting_at_epoch`` is checked by the caller, which knows the epoch.
        """
        if step_idx is not None:
            return bool(super().should_update(step_idx=step_idx))
        if epoch_idx is None or self.update_every_n_steps > 0:
            return False
        return epoch_idx >= (self.update_starting_at_epoch or 0)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module and the strategy are supported, and discard the average of an earlier fit."""
        if not isinstance(pl_module, LightningModule):
            raise TypeError(
                f"{type(pl_module).__name__} is not a module of {LightningModule.__module__.split('.')[0]}, "
                "which this callback requires. Use EMAWeightAveraging from lightning.pytorch.callbacks, or "
                "only one of the two Lightning packages."
            )
        if stage != "fit":
            return
        strategy = type(trainer.strategy)
        if any(cls.__name__ in SHARDED for cls in strategy.__mro__):
            raise ValueError(
                f"{strategy.__name__} shards the weights over ranks, and ExponentialMovingAverageCallback "
                "requires all of them on each rank. Use DDP, or remove the callback."
            )
        self._average, self._live, self._updates, self._validating = [], [], 0, False
        self._latest_update_step = trainer.global_step
        self._latest_update_epoch = trainer.current_epoch - 1

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the checkpoint callbacks, and move a loaded average to the device of the weights.

        A checkpoint callback that saves only weights is an error, because it would save the live weights.
        """
        for saver in trainer.checkpoint_callbacks:
            if getattr(saver, "save_weights_only", False):
                raise ValueError(
                    f"{type(saver).__name__}(save_weights_only=True) would save the live weights instead of "
                    "their average, because Lightning then calls no callback. Set save_weights_only=False."
                )
        if self._average:
            live = averaged_tensors(pl_module, self._use_buffers)
            self._average = [self._stored(a, like=w) for a, w in zip(self._average, live, strict=True)]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Update the average after an optimizer step."""
        self._update_after_step(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the average after an epoch."""
        epoch = trainer.current_epoch
        start = self.update_starting_at_step
        begun = start is None or trainer.global_step > start
        if epoch > self._latest_update_epoch and begun and self.should_update(epoch_idx=epoch):
            self._update(pl_module)
            self._latest_update_epoch = epoch

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the average into the module, if an average exists."""
        self._show_average(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Move the average to the CPU to free accelerator memory, as Lightning does with the module."""
        self._average = [tensor.cpu() for tensor in self._average]
        self._live = [tensor.cpu() for tensor in self._live]

    # ---------------------------------------------------------------- validation

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the average into the module before a validation during the fit."""
        if trainer.state.fn == "fit":
            self._validating = True
            self._show_average(pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: the module already contains the average."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing, so that the module's own hook of this name still uses the average."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the live weights."""
        self._end_validation(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the live weights if a validation during the fit was interrupted."""
        self._end_validation(pl_module)

    # ---------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the epoch of the last update."""
        return {
            "latest_update_step": self._latest_update_step,
            "latest_update_epoch": self._latest_update_epoch,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the step and the epoch of the last update."""
        self._latest_update_step = state_dict["latest_update_step"]
        self._latest_update_epoch = state_dict.get("latest_update_epoch", -1)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the weights, and the live weights in addition, if an average exists."""
        if trainer.training and not self._live:
            # Another callback may save a checkpoint after the optimizer step, before the average is updated.
            self._update_after_step(trainer, pl_module)
            if "callbacks" in checkpoint:
                checkpoint["callbacks"][self.state_key] = self.state_dict()
        if not self._average or (self._live and not self._shows_average(pl_module)):
            return  # no average exists, or the module received other weights since
        held = averaged_tensors(pl_module, self._use_buffers)
        with _holding(held, self._average):
            checkpoint["state_dict"] = pl_module.state_dict()
        with _holding(held, self._live or [tensor.data for tensor in held]):
            checkpoint[LIVE_KEY] = pl_module.state_dict()
        checkpoint[STATE_KEY] = {"n_averaged": torch.tensor(self._updates)}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average and the live weights of a resumed fit.

        Validation, test and prediction use ``state_dict``, which Lightning has already loaded into the
        module.
        """
        if trainer.state.fn != "fit":
            return
        self._average, self._live, self._updates = [], [], 0
        updates = int(checkpoint.get(STATE_KEY, {}).get("n_averaged", 0))
        if LIVE_KEY not in checkpoint:
            if self.state_key not in checkpoint.get("callbacks", {}):
                logger.info(
                    "The checkpoint does not contain an average. The average starts from the loaded weights."
                )
            return
        strict = pl_module.strict_loading
        pl_module.load_state_dict(checkpoint[LIVE_KEY], strict=strict)
        if not updates:  # written by Lightning's own callback before its first update
            return
        held = averaged_tensors(pl_module, self._use_buffers)
        # In double precision: the module is converted to the precision of the run later, see on_fit_start.
        self._average = [w.detach().to(torch.promote_types(w.dtype, torch.float64), copy=True) for w in held]
        self._updates = updates
        # Load the rest of the module again, because its own hook may have changed it in state_dict.
        with _holding(held, self._average):
            pl_module.load_state_dict(checkpoint["state_dict"], strict=strict)

    # ---------------------------------------------------------------- internals

    def _update_after_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step, epoch = trainer.global_step, trainer.current_epoch
        begun = epoch >= (self.update_starting_at_epoch or 0)
        if step > self._latest_update_step and begun and self.should_update(step_idx=step - 1):
            self._update(pl_module)
            self._latest_update_step = step

    @torch.no_grad()
    def _update(self, pl_module: LightningModule) -> None:
        live = averaged_tensors(pl_module, self._use_buffers)
        if self._average:
            for average, weight in zip(self._average, live, strict=True):
                average.lerp_(weight.to(average), 1 - self.decay)
        else:
            self._average = [self._stored(weight.clone(), like=weight) for weight in live]
        self._updates += 1

    def _stored(self, average: Tensor, like: Tensor) -> Tensor:
        """Return ``average`` on the device where it is stored, with the dtype of the weight ``like``.

        The dtype is at least float32.
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        return average.detach().to(like.device if self._device is None else self._device, dtype)

    @torch.no_grad()
    def _show_average(self, pl_module: LightningModule) -> None:
        """Copy the average into the module, and keep a copy of the live weights."""
        if self._average and not self._live:
            held = averaged_tensors(pl_module, self._use_buffers)
            self._live = [tensor.detach().clone() for tensor in held]
            for tensor, average in zip(held, self._average, strict=True):
                tensor.copy_(average)

    @torch.no_grad()
    def _end_validation(self, pl_module: LightningModule) -> None:
        if self._validating:
            self._validating = False
            held = averaged_tensors(pl_module, self._use_buffers) if self._live else []
            for tensor, live in zip(held, self._live, strict=True):
                tensor.copy_(live)
            self._live = []

    def _shows_average(self, pl_module: LightningModule) -> bool:
        held = averaged_tensors(pl_module, self._use_buffers)
        return len(held) == len(self._average) and all(
            tensor.shape == average.shape and torch.equal(tensor, average.to(tensor))
            for tensor, average in zip(held, self._average, strict=True)
        )


@contextmanager
def _holding(held: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Temporarily replace the data of the tensors ``held`` by ``values``, without copies or conversion.

    The module's own methods can then create or load a state dict with the names that they use.
    """
    own = [tensor.data for tensor in held]
    try:
        for tensor, value in zip(held, values, strict=True):
            tensor.data = value
        yield
    finally:
        for tensor, value in zip(held, own, strict=True):
            tensor.data = value
