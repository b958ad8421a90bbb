"""LossSpikeDetection: name the batches whose loss spikes and, on request, skip their optimizer steps."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.batch_view import sample_ids_of
from mml_diagnostics.finding import Problem

FEWEST_LOSSES = 20
MAX_SKIPS = 10  # consecutive steps; after that the loss is treated as the new normal, not as a spike


def robust_z_score(value: float, history: Sequence[float]) -> float:
    r"""Return the distance of ``value`` from the median of ``history``, in robust standard deviations.

    .. math:: (x - \text{median}) / (1.4826 \, \text{MAD})

    (Iglewicz, Hoaglin 1993, "How to Detect and Handle Outliers"). The deviation in the denominator is at
    least a hundredth of the median, so that a nearly constant history does not turn every value into an
    outlier.

    Parameters
    ----------
    value
        Value to score.
    history
        Values to compare with. Non-finite values are ignored.

    Returns
    -------
    float
        The z-score. Infinite if ``value`` is not finite; otherwise 0 if ``history`` has no finite values.
    """
    if not math.isfinite(value):
        return math.inf
    past = torch.tensor([x for x in history if math.isfinite(x)], dtype=torch.float64)
    if len(past) == 0:
        return 0.0
    median = past.quantile(0.5)
    deviation = 1.4826 * (past - median).abs().quantile(0.5)
    deviation = torch.maximum(deviation, 0.01 * median.abs()).clamp(min=torch.finfo(torch.float32).tiny)
    return float((value - median) / deviation)


class LossSpikeDetection(DiagnosticCallback):
    """Find batches whose loss is far above the recent losses, and name their samples.

    Losses stay on the device and are checked every ``check_every_n_steps`` steps. The samples of each batch
    are still known by then. With ``skip=True`` a spike must be detected before the optimizer steps, so one
    number is read from the device at every step and compared among the ranks.

    Parameters
    ----------
    threshold
        Robust z-score above which a loss is a spike. A non-finite loss is always a spike.
    window
        Number of preceding losses that a loss is compared with.
    skip
        Whether to skip the optimizer step of a batch whose loss spikes. If any rank detects a spike, all
        ranks skip the step: gradients are dropped, so that neither weights nor moments change. After ten
        consecutive skipped steps, no further step is skipped until the loss is below the threshold again.
    check_every_n_steps
        Number of batches between two checks of the losses. With ``skip=True`` every batch is checked.

    Attributes
    ----------
    steps_skipped
        Number of skipped optimizer steps.

    Raises
    ------
    ValueError
        If ``threshold`` is not positive, ``window`` is below 20, or ``check_every_n_steps`` is below 1.
    """

    def __init__(
        self,
        threshold: float = 10.0,
        window: int = 100,
        skip: bool = False,
        check_every_n_steps: int = 10,
    ) -> None:
        if not threshold > 0:
            raise ValueError(f"threshold must be a positive z-score, got {threshold}")
        if window < FEWEST_LOSSES:
            raise ValueError(f"window must be at least {FEWEST_LOSSES}, got {window}")
        if check_every_n_steps < 1:
            raise ValueError(f"check_every_n_steps must be at least 1, got {check_every_n_steps}")
        super().__init__()
        self.threshold = threshold
        self.window = window
        self.skip = skip
        self.check_every_n_steps = check_every_n_steps
        self.steps_skipped = 0
        self._history: deque[float] = deque(maxlen=window)
        self._waiting: list[tuple[int, int, list[str] | None, Tensor]] = []
        self._spiked = False  # whether a batch of the current step has spiked
        self._in_a_row = 0
        self._batch: tuple[int, list[str] | None] = (0, None)

    @never_fatal
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Store the batch index and the sample names."""
        self._step = trainer.global_step
        self._batch = batch_idx, sample_ids_of(batch)

    @never_fatal
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Store the loss tensor. Its value is not read, which would require waiting for the device."""
        batch_idx, ids = self._batch
        self._waiting.append((self._step, batch_idx, ids, loss.detach().float().mean()))
        if self.skip or len(self._waiting) >= self.check_every_n_steps:
            self._look()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Drop the gradients of a step with a spike, if ``skip`` is True."""
        if not self.skip:
            return
        # Not guarded: a disabled rank must still answer the other ranks.
        spiked = self._spiked
        self._spiked = False
        if trainer.world_size > 1:
            flag = torch.tensor(float(spiked), device=pl_module.device)
            spiked = bool(trainer.strategy.reduce(flag, reduce_op="max") > 0)
        self._in_a_row = self._in_a_row + 1 if spiked else 0
        if not spiked or self._in_a_row > MAX_SKIPS:
            return
        self.steps_skipped += 1
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @never_fatal
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the remaining losses."""
        self._look()

    def state_dict(self) -> dict[str, Any]:
        """Return the findings, the recent losses and the number of skipped steps."""
        return super().state_dict() | {"history": list(self._history), "steps_skipped": self.steps_skipped}

    def load_state_dict(self, state_dict: Any) -> None:
        """Restore the findings, the recent losses and the number of skipped steps of the resumed run."""
        super().load_state_dict(state_dict)
        self._history = deque(state_dict["history"], maxlen=self.window)
        self.steps_skipped = state_dict["steps_skipped"]

    def _look(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        values = torch.stack([loss for *_, loss in waiting]).tolist()  # the only transfer from the device
        for (step, batch_idx, ids, _), value in zip(waiting, values, strict=True):
            score = robust_z_score(value, self._history) if len(self._history) >= FEWEST_LOSSES else 0.0
            if not math.isfinite(value) or score > self.threshold:
                self._spiked = True
                self.report(self._problem(step, batch_idx, ids, value, score), step)
            if math.isfinite(value):
                self._history.append(value)

    def _problem(
        self, step: int, batch_idx: int, ids: list[str] | None, value: float, score: float
    ) -> Problem:
        samples = f"samples {', '.join(map(repr, ids))}" if ids else f"batch {batch_idx}"
        usual = float(torch.tensor(list(self._history)).median()) if self._history else math.nan
        return Problem(
            check="loss_spike",
            severity="warning",
            message=f"The loss of batch {batch_idx} is {value:.3g}, {score:.3g} robust deviations above "
            f"the median {usual:.3g} of the {len(self._history)} losses before it.",
            advice="Check their labels and structures. If these are correct, clip the gradients or lower the "
            "learning rate. skip=True skips such steps.",
            where=samples,
        )
