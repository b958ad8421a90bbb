"""ExponentialMovingAverageCallback: an average of the weights, used wherever a run reports or saves."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mml_diagnostics._lightning import EMAWeightAveraging, LightningModule, Trainer

logger = logging.getLogger(__name__)

# Under these no rank has the whole weights.
SHARDED = ("DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy")

LIVE_KEY, STATE_KEY = "current_model_state", "averaging_state"  # of checkpoints, as Lightning names them


def averaged_tensors(module: torch.nn.Module, use_buffers: bool = True) -> list[Tensor]:
    """Return the tensors of ``module`` that are averaged, each once, in the order of their names.

    These are the parameters and, with ``use_buffers``, running statistics: buffers whose name begins with
    ``running_``, as those of batch norm. Other buffers are constants or counts, such as the reference
    energies of a normalizer, and are not averaged. Integers are not averaged either.
    """
    found: list[Tensor] = list(module.parameters())
    if use_buffers:
        named = module.named_buffers()
        found += [buffer for name, buffer in named if name.rpartition(".")[2].startswith("running_")]
    return [tensor for tensor in found if tensor.is_floating_point() or tensor.is_complex()]


class ExponentialMovingAverageCallback(EMAWeightAveraging):
    r"""Keep an exponential moving average of the weights, and use it wherever the run reports or saves.

    After an optimizer step each weight's average moves by
    :math:`\bar w \leftarrow \bar w + (1 - \text{decay}) (w - \bar w)`. The first update sets the average to
    the weights of that moment. Once there is an average, it is what "the model's weights" means:

    ==================================== ==============================================================
    validation during the fit            the average, from ``on_validation_start`` to ``on_validation_end``
    checkpoint                           ``state_dict`` holds the average; ``current_model_state`` holds the
                                         live weights, from which a resumed run continues bit for bit
    module after the fit                 the average
    test, validate, predict after it     the average; with ``ckpt_path``, that of the checkpoint
    other code that reads ``state_dict`` the average (``load_from_checkpoint``, ``from_pretrained_encoder``)
    training                             the live weights
    ==================================== ==============================================================

    Before the first update (``update_starting_at_step``, ``update_starting_at_epoch``) all of these are the
    live weights, and a checkpoint is that of a run without this callback. Such a checkpoint can be resumed
    with this callback; the average then starts from the weights of its first update.

    Averaged are parameters and running statistics (``running_mean``, ``running_var``). All other buffers,
    such as the numbers of normalizers, are always those of the module, and remain exactly as they are. The
    average has the precision of the weights, and at least float32.

    Parameters
    ----------
    decay
        Share of the average that an update leaves, from 0 to 1.
    verbose
        Level of this module's log messages.
    device
        Where to store the average; None stores it beside the weights.
    use_buffers
        Whether to average running statistics; if not, those of the live weights are used.
    update_every_n_steps
        Update after the first of every so many optimizer steps; 0 updates at the end of each epoch instead.
    update_starting_at_step
        Index of the first optimizer step, from 0, after which the average is updated.
    update_starting_at_epoch
        Index of the first epoch, from 0, in which the average is updated. If both are given, the average
        starts when both are reached.

    Raises
    ------
    ValueError
        If ``decay`` is outside 0 to 1 or a number of steps or epochs is negative; at the start of a fit, if
        the strategy shards the weights over ranks.
    ImportError
        If Lightning is older than 2.6.
    TypeError
        At the start of a fit, if the module is one of ``lightning.pytorch`` while ``pytorch_lightning`` is
        installed too: Lightning's averaging knows only modules of its own kind.
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
            raise ValueError(f"decay is {decay}; give a share from 0 to 1.")
        if verbose not in logging.getLevelNamesMapping():
            raise ValueError(f'verbose is "{verbose}"; give the name of a log level, e.g. "INFO".')
        for name, number in (
            ("update_every_n_steps", update_every_n_steps),
            ("update_starting_at_step", update_starting_at_step),
            ("update_starting_at_epoch", update_starting_at_epoch),
        ):
            if number is not None and number < 0:
                raise ValueError(f"{name} is {number}; give a number of at least 0.")
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
        self._live: list[Tensor] = []  # a copy of the live weights, while the module holds the average
        self._updates = 0
        self._validating = False
        logger.setLevel(verbose)
        logger.info("Averaging weights with decay %g.", decay)

    # ---------------------------------------------------------------- the average

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether the average is updated after an optimizer step or an epoch, both counted from 0.

        The starting epoch of updates after steps is looked at in `on_train_batch_end`, which knows the epoch.
        """
        if step_idx is not None:
            return bool(super().should_update(step_idx=step_idx))
        if epoch_idx is None or self.update_every_n_steps > 0:
            return False
        return epoch_idx >= (self.update_starting_at_epoch or 0)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module or a strategy that cannot be averaged; forget the average of an earlier fit."""
        if not isinstance(pl_module, LightningModule):
            raise TypeError(
                f"{type(pl_module).__name__} is not a module of {LightningModule.__module__.split('.')[0]}, "
                "which this average is made for. Use EMAWeightAveraging from lightning.pytorch.callbacks, or "
                "one Lightning throughout."
            )
        if stage != "fit":
            return
        strategy = type(trainer.strategy)
        if any(cls.__name__ in SHARDED for cls in strategy.__mro__):
            raise ValueError(
                f"{strategy.__name__} shards the weights over ranks, and ExponentialMovingAverageCallback "
                "needs them whole. Use DDP, or leave the callback out."
            )
        self._average, self._live, self._updates, self._validating = [], [], 0, False
        self._latest_update_step = trainer.global_step
        self._latest_update_epoch = trainer.current_epoch - 1

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the average of a checkpoint to where the weights are now; refuse savers that would miss it."""
        for saver in trainer.checkpoint_callbacks:
            if getattr(saver, "save_weights_only", False):
                raise ValueError(
                    f"{type(saver).__name__}(save_weights_only=True) would save the live weights instead of "
                    "their average, since Lightning asks no callback then. Set save_weights_only=False."
                )
        if self._average:
            live = averaged_tensors(pl_module, self._use_buffers)
            self._average = [self._stored(a, like=w) for a, w in zip(self._average, live, strict=True)]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
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
        """Leave the average in the module, if there is one."""
        self._show_average(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Free the accelerator's memory, as Lightning does with the module."""
        self._average = [tensor.cpu() for tensor in self._average]
        self._live = [tensor.cpu() for tensor in self._live]

    # ---------------------------------------------------------------- validation

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average into the module, for a validation of the fit."""
        if trainer.state.fn == "fit":
            self._validating = True
            self._show_average(pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: the average is in the module already."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: the module's own hook of this name still sees the average."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the live weights back."""
        self._end_validation(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the live weights back if a validation of the fit was interrupted."""
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
        """Save the average as the weights and the live weights beside it, if there is an average."""
        if trainer.training and not self._live:
            # Another callback may save between the optimizer's step and the update that follows it.
            self._update_after_step(trainer, pl_module)
            if "callbacks" in checkpoint:
                checkpoint["callbacks"][self.state_key] = self.state_dict()
        if not self._average or (self._live and not self._shows_average(pl_module)):
            return  # there is none, or the module got other weights since
        held = averaged_tensors(pl_module, self._use_buffers)
        with _holding(held, self._average):
            checkpoint["state_dict"] = pl_module.state_dict()
        with _holding(held, self._live or [tensor.data for tensor in held]):
            checkpoint[LIVE_KEY] = pl_module.state_dict()
        checkpoint[STATE_KEY] = {"n_averaged": torch.tensor(self._updates)}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average and the live weights of a fit that is resumed.

        Other runs of the trainer evaluate ``state_dict``, which is in the module already.
        """
        if trainer.state.fn != "fit":
            return
        self._average, self._live, self._updates = [], [], 0
        updates = int(checkpoint.get(STATE_KEY, {}).get("n_averaged", 0))
        if LIVE_KEY not in checkpoint:
            if self.state_key not in checkpoint.get("callbacks", {}):
                logger.info("The checkpoint has no average; it will start from the weights that were loaded.")
            return
        strict = pl_module.strict_loading
        pl_module.load_state_dict(checkpoint[LIVE_KEY], strict=strict)
        if not updates:  # written by Lightning's own callback before its first update
            return
        held = averaged_tensors(pl_module, self._use_buffers)
        # In full precision: the module is converted to that of the run only later, see on_fit_start.
        self._average = [w.detach().to(torch.promote_types(w.dtype, torch.float64), copy=True) for w in held]
        self._updates = updates
        # The rest of the module is loaded a second time, as its own hook may have changed it in state_dict.
        with _holding(held, self._average):
            pl_module.load_state_dict(checkpoint["state_dict"], strict=strict)

    # ---------------------------------------------------------------- inside

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
        """Return an average where it is kept, in the precision of a weight or float32 if that is lower."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        return average.detach().to(like.device if self._device is None else self._device, dtype)

    @torch.no_grad()
    def _show_average(self, pl_module: LightningModule) -> None:
        """Put the average into the module, and keep a copy of what it held."""
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
    """Have the tensors ``held`` be ``values`` themselves, without copies and in their precision.

    Names of a state dict are then none of our business: the module makes and reads its own.
    """
    own = [tensor.data for tensor in held]
    try:
        for tensor, value in zip(held, values, strict=True):
            tensor.data = value
        yield
    finally:
        for tensor, value in zip(held, own, strict=True):
            tensor.data = value
