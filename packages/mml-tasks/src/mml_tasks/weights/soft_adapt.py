"""SoftAdapt: loss weights that depend on how fast each loss decreases."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed

from mml_tasks.weights.loss_weights import LossWeightCallback, log_weights, logs_at, weights_of
from mml_tasks.weights.progress import step_index

logger = logging.getLogger(__name__)


def soft_adapt_weights(
    losses: Sequence[float],
    previous: Sequence[float],
    beta: float = 0.1,
    normalized: bool = True,
    loss_weighted: bool = False,
) -> list[float]:
    """Return weights that add up to one, computed from the rates of change of the losses.

    With the rates ``s[k] = losses[k] - previous[k]``, ``w[k]`` is proportional to ``exp(beta * s[k])``
    (Heydari, Thompson and Mehmood, "SoftAdapt", arXiv:1912.12355, section 3.1.1).

    Parameters
    ----------
    losses, previous
        Current and previous loss of each target.
    beta
        If positive, the losses that decrease least get the largest weights; if negative, those that decrease
        most.
    normalized
        Divide the rates by the sum of their magnitudes, so that the scale of the losses does not matter
        (section 3.1.3).
    loss_weighted
        Multiply ``w[k]`` by ``losses[k]`` before the weights are normalized (section 3.1.2).

    Raises
    ------
    ValueError
        If ``loss_weighted`` is True and a loss is negative.
    """
    if loss_weighted and min(losses) < 0:
        raise ValueError(
            f"loss_weighted=True requires losses that are not negative, got {list(losses)}. Leave "
            "loss_weighted out"
        )
    rates = [now - before for now, before in zip(losses, previous, strict=True)]
    size = sum(abs(rate) for rate in rates)
    if normalized and size > 0:
        rates = [rate / size for rate in rates]
    largest = max(beta * rate for rate in rates)
    parts = [math.exp(beta * rate - largest) for rate in rates]
    if loss_weighted:
        weighted = [part * loss for part, loss in zip(parts, losses, strict=True)]
        parts = weighted if sum(weighted) > 0 else parts  # all are zero if all losses are
    whole = sum(parts)
    return [part / whole for part in parts]


def is_distributed() -> bool:
    """Return whether this process is one of several that train together."""
    return distributed.is_available() and distributed.is_initialized()


class SoftAdapt(LossWeightCallback):
    """Set the weights of targets' losses according to how fast each loss decreases, see `soft_adapt_weights`.

    The unweighted loss of each target is averaged over ``every_n_steps`` optimizer steps and over all ranks.
    From the second average on, each average updates the weights. The weights and the averages are saved in
    the checkpoint and are the same on every rank. The callback waits for the device only when it computes
    weights.

    In addition to a dict ``task_loss_scaling``, the module must have an attribute ``last_losses``: a dict
    from target to the unweighted loss of the last training batch, a tensor without gradient (empty before the
    first batch). A target that is not in the dict is not part of that batch.

    Parameters
    ----------
    keys
        The targets; None for all targets of the module.
    beta, normalized, loss_weighted
        See `soft_adapt_weights`.
    every_n_steps
        Number of optimizer steps per average.
    total
        Sum of the weights. None uses the number of targets, so that the weights are 1 on average.

    Raises
    ------
    TypeError
        At setup, if the module lacks ``task_loss_scaling`` or ``last_losses``.
    ValueError
        If a number is out of range or a key is given twice; at setup, if the module lacks a target; when
        training starts, if there are fewer than two targets.
    """

    def __init__(
        self,
        keys: Sequence[str] | None = None,
        beta: float = 0.1,
        every_n_steps: int = 50,
        normalized: bool = True,
        loss_weighted: bool = False,
        total: float | None = None,
    ) -> None:
        if keys is not None and len(set(keys)) != len(keys):
            raise ValueError(f"keys must be unique, got {list(keys)}")
        if not math.isfinite(beta):
            raise ValueError(f"beta must be finite, got {beta}")
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        if total is not None and not (math.isfinite(total) and total > 0):
            raise ValueError(f"total must be finite and positive, got {total}")
        super().__init__(keys)
        self.beta = beta
        self.every_n_steps = every_n_steps
        self.normalized = normalized
        self.loss_weighted = loss_weighted
        self.total = total
        self._clear()

    def _clear(self) -> None:
        self._weights: dict[str, float] = {}
        self._means: list[float] | None = None
        self._sums = torch.zeros(0)
        self._counts: list[int] = []
        self._updated_at = 0
        self._last_step = -1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raise an error if the module lacks ``task_loss_scaling``, ``last_losses`` or a target."""
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        if not hasattr(pl_module, "last_losses"):
            raise TypeError(
                f"SoftAdapt reads each target's loss from last_losses, but {type(pl_module).__name__} has no "
                "such attribute. Set self.last_losses = {} in its constructor, and set it to a dict of "
                "detached losses in training_step"
            )
        if trainer.global_step == 0:  # a new run; the state of a checkpoint is loaded later
            self._clear()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the weights from the checkpoint, or equal weights."""
        keys = self.keys_of(pl_module)
        if len(keys) < 2:
            raise ValueError(f"SoftAdapt balances at least two targets, got {keys}. Remove the callback")
        if not self._weights:
            total = len(keys) if self.total is None else self.total
            self._weights = dict.fromkeys(keys, total / len(keys))
            self._sums, self._counts = torch.zeros(len(keys)), [0] * len(keys)
        elif set(self._weights) != set(keys):
            raise ValueError(
                f"the checkpoint has SoftAdapt weights for {sorted(self._weights)}, but this run has the "
                f"targets {sorted(keys)}. Resume with the same targets"
            )
        self._sums = self._sums.to(pl_module.device)
        weights_of(pl_module).update(self._weights)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Compute new weights once enough steps have been averaged."""
        step = step_index(trainer)
        if step == self._last_step:
            return
        self._last_step = step
        if step - self._updated_at >= self.every_n_steps:
            self._update(step, trainer.is_global_zero)
            weights_of(pl_module).update(self._weights)
        if logs_at(trainer, step):
            log_weights(trainer, self._weights, step)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Add the losses of a batch to the running average."""
        losses: dict[str, Tensor] = pl_module.last_losses  # type: ignore[assignment]
        present = [key in losses for key in self._weights]
        self._counts = [count + seen for count, seen in zip(self._counts, present, strict=True)]
        nothing = self._sums.new_zeros(())
        self._sums = self._sums + torch.stack(
            [losses[key].detach().to(self._sums) if key in losses else nothing for key in self._weights]
        )

    def _update(self, step: int, speaks: bool) -> None:
        self._updated_at = step
        sums, counts = self._over_ranks()
        if not all(counts):  # continue the average until each target has a loss
            return
        means = [value / count for value, count in zip(sums, counts, strict=True)]
        self._sums, self._counts = torch.zeros_like(self._sums), [0] * len(counts)
        if not all(math.isfinite(mean) for mean in means):
            if speaks:
                found = dict(zip(self._weights, means, strict=True))
                logger.warning("step %d: SoftAdapt keeps its weights, because the losses are %s", step, found)
            return
        if self._means is not None:
            total = sum(self._weights.values()) if self.total is None else self.total
            parts = soft_adapt_weights(means, self._means, self.beta, self.normalized, self.loss_weighted)
            self._weights = {key: total * part for key, part in zip(self._weights, parts, strict=True)}
        self._means = means

    def _over_ranks(self) -> tuple[list[float], list[int]]:
        """Return the sums and the numbers of losses over all ranks."""
        sums, counts = self._sums, self._sums.new_tensor(self._counts)
        if is_distributed():
            both = torch.stack([sums, counts])
            distributed.all_reduce(both)
            sums, counts = both
        return sums.tolist(), [round(count) for count in counts.tolist()]

    # ---------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, object]:
        """Return the weights and the averages for the next update; must be called on all ranks."""
        if not self._weights:
            return {}
        sums, counts = self._over_ranks()
        state: dict[str, object] = {
            "weights": dict(self._weights),
            "means": self._means,
            "sums": sums,
            "counts": counts,
            "updated_at": self._updated_at,
        }
        self._take(sums, counts)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the weights and averages of ``state_dict``."""
        self._weights = dict(state_dict["weights"])
        self._means = state_dict["means"]
        self._updated_at = state_dict["updated_at"]
        self._take(state_dict["sums"], state_dict["counts"])

    def _take(self, sums: list[float], counts: list[int]) -> None:
        """Store sums and counts of all ranks on rank zero; the other ranks continue from zero."""
        first = (
            not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0
        )
        self._sums = self._sums.new_tensor(sums) * first
        self._counts = [count * first for count in counts]
