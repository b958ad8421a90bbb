"""GradientCheckCallback: detect NaN, Inf and tiny gradients just before the optimizer step."""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.console import speak_on_console
from mml_diagnostics.finding import Problem
from mml_diagnostics.non_finite.bad_values import (
    bad_inputs,
    count_non_finite,
    gradient_norms,
    gradient_values,
    masks_labels,
    zero_non_finite,
)
from mml_diagnostics.non_finite.gradient_problems import (
    bad_layer,
    bad_sample,
    describe_batches,
    shorten,
    small_gradients,
    stopped,
)
from mml_diagnostics.non_finite.replay import StepBatch, random_state
from mml_diagnostics.non_finite.step_dump import StepDump

logger = logging.getLogger(__name__)


class GradientCheckCallback(DiagnosticCallback):
    """Find NaN and Inf gradients before the optimizer uses them, zero them, and report tiny gradients.

    The check runs after AMP has unscaled the gradients and before they are clipped. It reports the affected
    parameters, step, batch and samples. If a sample's own targets or inputs are not finite, it names the
    sample. The check costs one norm per parameter and one transfer from the device per optimizer step. The
    batches of a step are kept until the end of the step, so that samples can be named.

    Under DDP the gradients are the same on all ranks at this point, so all ranks zero the same elements. A
    rank whose batch contains the faulty sample reports it itself. With ``patience``, the ranks also agree on
    whether to stop, with one small exchange per step. If a gradient scaler (fp16) skips a step because scaled
    values overflow, this is expected and not reported, unless the loss itself is NaN or the scale has fallen
    to one. With a gradient scaler the gradients are not zeroed, because the scaler skips the step.

    Parameters
    ----------
    thres
        Gradient norms below this threshold are reported as one finding of severity ``info``; 0 reports none.
    num_steps
        Number of optimizer steps to check; -1 checks all.
    verbose
        Whether to print each event to the console when it happens, even if logging is not configured.
    zero_non_finite
        Whether to set NaN and Inf elements to zero, so that training continues. False leaves them unchanged.
    patience
        Number of consecutive steps with non-finite gradients of an optimizer after which the run is stopped
        with a summary. ``None`` never stops the run.
    dump_dir
        Directory for the weights, batches and random states of the first ten bad steps of each rank, for
        :func:`mml_diagnostics.replay`, which needs a module with automatic optimization. ``None`` writes
        nothing. If the strategy shards the weights over ranks, nothing is written and a warning is logged.

    Attributes
    ----------
    steps_checked, steps_non_finite
        Number of optimizer steps that were checked, and number of those with a non-finite gradient.
    small_counts
        Mapping from parameter name to the number of steps at which its gradient norm was below ``thres``.

    Raises
    ------
    ValueError
        If ``thres`` is negative or not finite, ``num_steps`` is neither -1 nor positive, ``patience`` is
        below one, or ``dump_dir`` is a file.
    """

    def __init__(
        self,
        thres: float = 1e-2,
        num_steps: int = -1,
        verbose: bool = False,
        zero_non_finite: bool = True,
        patience: int | None = None,
        dump_dir: str | Path | None = None,
    ) -> None:
        if not (math.isfinite(thres) and thres >= 0):
            raise ValueError(f"thres must be finite and at least 0, got {thres}")
        if num_steps != -1 and num_steps < 1:
            raise ValueError(f"num_steps must be positive, or -1 for all steps, got {num_steps}")
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be at least 1 or None, got {patience}")
        super().__init__()
        self.thres = thres
        self.num_steps = num_steps
        self.verbose = verbose
        self.zero_non_finite = zero_non_finite
        self.patience = patience
        self.dump_dir = dump_dir
        self.steps_checked = 0
        self.steps_non_finite = 0
        self.small_counts: Counter[str] = Counter()
        self._streaks: Counter[int] = Counter()  # optimizer index -> number of consecutive bad steps
        self._batches: list[StepBatch] = []
        self._dump = StepDump(dump_dir)
        self._loss: Tensor | None = None
        self._names: dict[int, str] = {}

    @never_fatal
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Configure the console output and check whether bad steps can be written to ``dump_dir``."""
        self._names.clear()
        if self.verbose and self._speaks:
            speak_on_console(self)
        self._dump.start(trainer, self._speaks)

    @never_fatal
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Store the batches of the coming step (several if gradients are accumulated)."""
        if self._done:
            return
        if trainer.global_step != self._step:
            self._batches.clear()
        self._step = trainer.global_step
        state = random_state(pl_module.device) if self._dump.wanted else {}
        self._batches.append(StepBatch(batch_idx, batch, state))

    @never_fatal
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Store the loss tensor. Its value is not read, which would require waiting for the device."""
        self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Check the gradients that ``optimizer`` is about to use."""
        if self._done:
            return
        self.steps_checked += 1
        self._look(trainer, pl_module, optimizer)
        if self.patience is not None:
            # Also if the diagnostic is disabled on this rank: the other ranks wait for its answer.
            stop = max(self._streaks.values(), default=0) >= self.patience
            if self._world_size > 1:
                stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
            if stop:
                trainer.should_stop = True
                self._report_stop()

    @never_fatal
    def _look(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [gradient_values(p) for p in parameters]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = None
        if scaler is not None and gradients and getattr(optimizer, "_step_supports_amp_scaling", False):
            scale = scaler.scale(
                torch.ones((), device=gradients[0].device)
            )  # optimizers with AMP scaling unscale internally
        norms = gradient_norms(gradients, scale)
        index = next((i for i, other in enumerate(trainer.optimizers) if other is optimizer), 0)
        if all(map(math.isfinite, norms)):
            self._streaks[index] = 0
        elif self._treat_non_finite(pl_module, parameters, gradients, scaler):
            self._streaks[index] += 1
            self._dump.write(trainer, pl_module, self._batches, self._step)
        self._note_small(pl_module, parameters, norms)

    @never_fatal
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Release the batches at the end of their step."""
        self._loss = None
        if trainer.global_step != self._step:
            self._batches.clear()

    def detach(self) -> None:
        """Release the batches and the module's parameter names."""
        self._batches.clear()
        self._names.clear()
        self._loss = None

    def state_dict(self) -> dict[str, Any]:
        """Return the findings and the counts."""
        return super().state_dict() | {
            "steps_checked": self.steps_checked,
            "steps_non_finite": self.steps_non_finite,
            "small_counts": dict(self.small_counts),
            "streaks": dict(self._streaks),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the findings and the counts of the resumed run."""
        super().load_state_dict(state_dict)
        self.steps_checked = state_dict["steps_checked"]
        self.steps_non_finite = state_dict["steps_non_finite"]
        self.small_counts = Counter(state_dict["small_counts"])
        self._streaks = Counter(state_dict.get("streaks", {}))

    @property
    def _done(self) -> bool:
        return self.num_steps != -1 and self.steps_checked >= self.num_steps

    def _name(self, pl_module: LightningModule, parameter: nn.Parameter) -> str:
        if id(parameter) not in self._names:
            self._names = {id(p): name for name, p in pl_module.named_parameters()}
        return self._names.get(id(parameter), "a parameter outside the module")

    def _treat_non_finite(
        self,
        pl_module: LightningModule,
        parameters: Sequence[nn.Parameter],
        gradients: Sequence[Tensor],
        scaler: Any,
    ) -> bool:
        """Zero and report non-finite gradients, and return True.

        Return False if no gradient is non-finite, or if a gradient scaler overflowed as expected.
        """
        counts = count_non_finite(gradients)
        bad = [(p, g, c) for p, g, c in zip(parameters, gradients, counts, strict=True) if any(c)]
        if not bad or self._is_overflow(scaler):
            return False
        self.steps_non_finite += 1
        if scaler is not None:
            outcome = "The gradient scaler skips this step."
        elif self.zero_non_finite:
            for _, gradient, _ in bad:
                zero_non_finite(gradient)
            outcome = "They were set to zero."
        else:
            outcome = (
                "They were left as they are (zero_non_finite=False), and the step will spoil the weights."
            )
        names = [self._name(pl_module, p) for p, _, _ in bad]
        kinds = " and ".join(k for i, k in enumerate(("NaN", "Inf")) if any(c[i] for _, _, c in bad))
        seen = f"{kinds} in the gradients of {len(bad)} of {len(gradients)} parameters ({shorten(names)})"
        where = f"{seen} at step {self._step}, {describe_batches(self._batches)}."
        self._report_non_finite(where, outcome, names, masks_labels(pl_module))
        return True

    @never_fatal
    def _report_stop(self) -> None:
        streak = max(self._streaks.values(), default=0)
        places = [f.where for f in self.findings if f.check == "non_finite_gradient"]
        self.report(
            stopped(streak, self._step, self.steps_non_finite, self.steps_checked, places), self._step
        )

    def _report_non_finite(self, seen: str, outcome: str, names: Sequence[str], masked: bool) -> None:
        suspects = [suspect for b in self._batches for suspect in bad_inputs(b.batch, masked)]
        for suspect in suspects:
            self._say(bad_sample(suspect, seen, outcome), about_rank=True)
        if not suspects:
            self._say(bad_layer(names[-1], seen, outcome, self._world_size > 1))

    def _say(self, problem: Problem, about_rank: bool = False) -> None:
        known = (problem.check, problem.where) in self._said
        self.report(problem, self._step)
        if self._speaks and self.verbose and known:
            logger.error("%s %s", problem.message, problem.advice)
        elif about_rank and not self._speaks and not known:
            logger.error("On this rank: %s %s", problem.message, problem.advice)

    def _is_overflow(self, scaler: Any) -> bool:
        """Return whether the gradient scaler caused the non-finite values by trying a large scale."""
        if scaler is None or (self._loss is not None and bool(self._loss.isnan().any())):
            return False
        return bool(scaler.get_scale() > 1.0)

    def _note_small(
        self, pl_module: LightningModule, parameters: Sequence[nn.Parameter], norms: Sequence[float]
    ) -> None:
        small = [p for p, norm in zip(parameters, norms, strict=True) if norm < self.thres]
        if not small:
            return
        names = [self._name(pl_module, p) for p in small]
        self.small_counts.update(names)
        known = ("small_gradients", "") in self._said
        finding = self.report(
            small_gradients(1, self.steps_checked, self.thres, self.small_counts), self._step
        )
        problem = small_gradients(finding.count, self.steps_checked, self.thres, self.small_counts)
        finding.message = problem.message
        if known and self.verbose and self._speaks:
            logger.info("Gradient norm below %g at step %d: %s", self.thres, self._step, shorten(names))
