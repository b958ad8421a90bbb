"""GradientCheckCallback: NaN, Inf and tiny gradients, looked at just before the optimizer steps."""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.batch_view import sample_ids_of
from mml_diagnostics.console import speak_on_console
from mml_diagnostics.finding import Problem
from mml_diagnostics.non_finite import (
    BadInput,
    bad_inputs,
    count_non_finite,
    gradient_norms,
    gradient_values,
    zero_non_finite,
)

logger = logging.getLogger(__name__)

NAMES_SHOWN = 4


class GradientCheckCallback(DiagnosticCallback):
    """Find NaN and Inf gradients before the optimizer uses them, zero them, and report tiny gradients.

    It runs after AMP has unscaled the gradients and before they are clipped. It says which parameters,
    step, batch and samples are concerned; where a sample's own targets or inputs are not finite, it names the
    sample. Costs one norm per parameter and one transfer from the device per optimizer step. The batches of a
    step are kept until the step is over, so that samples can be named.

    Under DDP the gradients are the same on all ranks when this looks at them, so all ranks zero the same
    elements; a rank that holds the sample at fault says so itself. Where a gradient scaler (fp16) skips a
    step because scaled values overflow, that is its ordinary work and not reported, unless the loss itself is
    NaN or the scale is down to one; the gradients are then left to the scaler, which skips such a step.

    Parameters
    ----------
    thres
        Norms of gradients below this are reported, as one finding of severity ``info``; 0 reports none.
    num_steps
        How many optimizer steps to check; -1 checks all.
    verbose
        Print each event to the console as it happens, without any logging set-up.
    zero_non_finite
        Set NaN and Inf elements to zero, so that training goes on. False leaves them as they are.

    Attributes
    ----------
    steps_checked, steps_non_finite
        How many optimizer steps were looked at, and on how many a gradient was not finite.
    small_counts
        Parameter name -> on how many steps the norm of its gradient was below ``thres``.

    Raises
    ------
    ValueError
        For a ``thres`` that is negative or not finite, or ``num_steps`` that is neither -1 nor positive.
    """

    def __init__(
        self, thres: float = 1e-2, num_steps: int = -1, verbose: bool = False, zero_non_finite: bool = True
    ) -> None:
        if not (math.isfinite(thres) and thres >= 0):
            raise ValueError(f"thres is {thres}; give a finite gradient norm of at least 0.")
        if num_steps != -1 and num_steps < 1:
            raise ValueError(f"num_steps is {num_steps}; give a positive number of steps, or -1 for all.")
        super().__init__()
        self.thres = thres
        self.num_steps = num_steps
        self.verbose = verbose
        self.zero_non_finite = zero_non_finite
        self.steps_checked = 0
        self.steps_non_finite = 0
        self.small_counts: Counter[str] = Counter()
        self._batches: list[tuple[int, Any]] = []
        self._loss: Tensor | None = None
        self._names: dict[int, str] = {}

    @never_fatal
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the console where ``verbose`` asks for it."""
        self._names.clear()
        if self.verbose and self._speaks:
            speak_on_console()

    @never_fatal
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the batches that the coming step is made from (several where gradients accumulate)."""
        if self._done:
            return
        if trainer.global_step != self._step:
            self._batches.clear()
        self._step = trainer.global_step
        self._batches.append((batch_idx, batch))

    @never_fatal
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Remember the loss (not its value, which would have to be waited for)."""
        self._loss = loss.detach()

    @never_fatal
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Look at the gradients that ``optimizer`` is about to use."""
        if self._done:
            return
        self.steps_checked += 1
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [gradient_values(p) for p in parameters]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = None
        if scaler is not None and gradients and getattr(optimizer, "_step_supports_amp_scaling", False):
            scale = scaler.scale(
                torch.ones((), device=gradients[0].device)
            )  # such optimizers unscale by themselves
        norms = gradient_norms(gradients, scale)
        if not all(map(math.isfinite, norms)):
            self._treat_non_finite(pl_module, parameters, gradients, scaler)
        self._note_small(pl_module, parameters, norms)

    @never_fatal
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let go of the batches when their step is over."""
        self._loss = None
        if trainer.global_step != self._step:
            self._batches.clear()

    def detach(self) -> None:
        """Let go of batches and of the module's parameter names."""
        self._batches.clear()
        self._names.clear()
        self._loss = None

    def state_dict(self) -> dict[str, Any]:
        """Return findings and counts."""
        return super().state_dict() | {
            "steps_checked": self.steps_checked,
            "steps_non_finite": self.steps_non_finite,
            "small_counts": dict(self.small_counts),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on counting where the resumed run was."""
        super().load_state_dict(state_dict)
        self.steps_checked = state_dict["steps_checked"]
        self.steps_non_finite = state_dict["steps_non_finite"]
        self.small_counts = Counter(state_dict["small_counts"])

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
    ) -> None:
        counts = count_non_finite(gradients)
        bad = [(p, g, c) for p, g, c in zip(parameters, gradients, counts, strict=True) if any(c)]
        if not bad or self._is_overflow(scaler):
            return
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
        seen = f"{kinds} in the gradients of {len(bad)} of {len(gradients)} parameters ({_shorten(names)})"
        self._report_non_finite(f"{seen} at step {self._step}, {self._describe_batches()}.", outcome, names)

    def _report_non_finite(self, seen: str, outcome: str, names: Sequence[str]) -> None:
        suspects = [suspect for _, batch in self._batches for suspect in bad_inputs(batch)]
        for suspect in suspects:
            self._say(_bad_sample(suspect, seen, outcome), about_rank=True)
        if not suspects:
            where = " on this rank (the others speak for theirs)" if self._world_size > 1 else ""
            advice = (
                f"{outcome} All inputs and targets of the batch are finite{where}. Gradients flow backwards: "
                f"look at what is computed from {names[-1]} (the last of these in the module) onwards; "
                "try a smaller learning rate, gradient clipping, or precision 32."
            )
            self._say(Problem("non_finite_gradient", "error", seen, advice, where=names[-1]))

    def _say(self, problem: Problem, about_rank: bool = False) -> None:
        known = (problem.check, problem.where) in self._said
        self.report(problem, self._step)
        if self._speaks and self.verbose and known:
            logger.error("%s %s", problem.message, problem.advice)
        elif about_rank and not self._speaks and not known:
            logger.error("On this rank: %s %s", problem.message, problem.advice)

    def _is_overflow(self, scaler: Any) -> bool:
        """Whether values that are not finite come from the gradient scaler trying a large scale."""
        if scaler is None or (self._loss is not None and bool(self._loss.isnan().any())):
            return False
        return bool(scaler.get_scale() > 1.0)

    def _describe_batches(self) -> str:
        parts = []
        for batch_idx, batch in self._batches:
            ids = sample_ids_of(batch)
            parts.append(f"batch {batch_idx}" + (f" (samples {', '.join(ids)})" if ids else ""))
        return ", ".join(parts) or "no batch"

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
            _small_gradients(1, self.steps_checked, self.thres, self.small_counts), self._step
        )
        problem = _small_gradients(finding.count, self.steps_checked, self.thres, self.small_counts)
        finding.message = problem.message
        if known and self.verbose and self._speaks:
            logger.info("gradient norm below %g at step %d: %s", self.thres, self._step, _shorten(names))


def _bad_sample(suspect: BadInput, seen: str, outcome: str) -> Problem:
    return Problem(
        check="non_finite_gradient",
        severity="error",
        message=f"{seen} Not finite in the batch: {suspect}.",
        advice=f"{outcome} Correct the sample in the data set or leave it out.",
        where=suspect.sample,
    )


def _small_gradients(steps: int, checked: int, thres: float, counts: Counter[str]) -> Problem:
    most_often = ", ".join(f"{name} ({count})" for name, count in counts.most_common(NAMES_SHOWN))
    return Problem(
        check="small_gradients",
        severity="info",
        message=f"On {steps} of {checked} checked steps a parameter had a gradient norm below {thres:g}; "
        f"most often (steps): {most_often}.",
        advice="Usual where training has converged; early on, look for saturated or unused layers.",
    )


def _shorten(names: Sequence[str]) -> str:
    """Join names; of many, the first, and the last."""
    if len(names) <= NAMES_SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: NAMES_SHOWN - 1])}, ... {names[-1]}"
