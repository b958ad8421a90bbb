"""ForwardNaNDetection: find the first module whose output is not finite although its inputs are finite."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.batch_view import name_sample, sample_ids_of
from mml_diagnostics.finding import Problem
from mml_diagnostics.non_finite.bad_values import bad_rows, named_floats, owners_of_rows
from mml_diagnostics.non_finite.gradient_check import GradientCheckCallback

logger = logging.getLogger(__name__)

SAMPLES_SHOWN = 4


class ForwardNaNDetection(DiagnosticCallback):
    """Find the module whose forward pass first produces a NaN or Inf, and report shapes, ranges and samples.

    Modules are checked in the order in which their forward passes end, so the innermost module is named.
    While the callback is armed, a hook on every module reads its output. Otherwise there are no hooks, and
    nothing is read from the device.

    A bad gradient, detected by the trainer's ``GradientCheckCallback``, arms the callback. It then reports
    the next forward pass that produces a NaN or Inf. It is disarmed when it has found a module, or after
    ``armed_steps`` steps without one. If the trainer has no active ``GradientCheckCallback``, a non-finite
    loss arms the callback; the loss is then read once per step.

    Validation is not checked. Each rank checks and reports its own forward passes.

    Parameters
    ----------
    always
        Whether to be armed permanently, from the first step on.
    armed_steps
        Number of steps after which the callback is disarmed.

    Attributes
    ----------
    armed
        Whether the callback is armed: the next training steps are checked.

    Raises
    ------
    ValueError
        If ``armed_steps`` is below one.
    """

    def __init__(self, always: bool = False, armed_steps: int = 100) -> None:
        if armed_steps < 1:
            raise ValueError(f"armed_steps must be at least 1, got {armed_steps}")
        super().__init__()
        self.always = always
        self.armed_steps = armed_steps
        self.armed = always
        self._armed_at = 0
        self._handles: list[RemovableHandle] = []
        self._batch: object = None
        self._seen = False  # whether a module was already reported in this forward pass
        self._gradient_check: GradientCheckCallback | None = None
        self._bad_steps = 0
        self._loss: Tensor | None = None

    @never_fatal
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the callback that detects bad gradients."""
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self._gradient_check = next((c for c in callbacks if isinstance(c, GradientCheckCallback)), None)
        self._bad_steps = self._gradient_check.steps_non_finite if self._gradient_check else 0

    @never_fatal
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Attach forward hooks to the modules, if the callback is armed."""
        self._step = trainer.global_step
        if self.armed and not self.always and self._step - self._armed_at > self.armed_steps:
            self.armed = False
        if self.armed:
            self._batch, self._seen = batch, False
            self._attach(pl_module)

    @never_fatal
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Remove the hooks after the forward pass, and store the loss tensor without reading its value."""
        self._remove_hooks()
        self._loss = loss.detach()

    @never_fatal
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Decide whether the callback is armed from the next step on."""
        self._remove_hooks()
        self._batch = None
        if self.always:
            return
        if self._gradient_check is not None and not self._gradient_check.switched_off:
            bad = self._gradient_check.steps_non_finite > self._bad_steps
            self._bad_steps = self._gradient_check.steps_non_finite
        else:
            bad = self._loss is not None and not bool(torch.isfinite(self._loss).all())
        self._loss = None
        if bad and not self._seen:
            self.armed, self._armed_at = True, trainer.global_step
        self._seen = False

    def detach(self) -> None:
        """Remove the hooks and release the batch."""
        self._remove_hooks()
        self._batch = self._loss = None

    def state_dict(self) -> dict[str, Any]:
        """Return the findings, and whether and since which step the callback is armed."""
        return super().state_dict() | {"armed": self.armed, "armed_at": self._armed_at}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the findings and the armed state of the resumed run."""
        super().load_state_dict(state_dict)
        self.armed, self._armed_at = self.always or state_dict["armed"], state_dict["armed_at"]

    def _attach(self, pl_module: LightningModule) -> None:
        self._remove_hooks()
        for name, module in pl_module.named_modules():
            if module is not pl_module:
                self._handles.append(module.register_forward_hook(self._hook(name), with_kwargs=True))

    def _hook(self, name: str) -> Any:
        def look(
            module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object
        ) -> None:
            self._look(name, module, args, kwargs, output)

        return look

    @never_fatal
    def _look(
        self,
        name: str,
        module: nn.Module,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        output: object,
    ) -> None:
        if self._seen or not self._handles:
            return
        outputs = dict(named_floats(_plain(output)))
        broken = {key: value for key, value in outputs.items() if bad_rows(value)}
        if not broken:
            return
        inputs = dict(named_floats([*args, *kwargs.values()]))
        if any(bad_rows(value) for value in inputs.values()):
            return  # it comes from an earlier module or from the batch itself
        self._seen = True
        self.armed = self.always
        with torch.no_grad():
            key, value = next(iter(broken.items()))
            problem = forward_problem(name, module, inputs, key, value, self._samples(value))
        known = (problem.check, problem.where) in self._said
        self.report(problem, self._step)
        if not self._speaks and not known:
            logger.error("On this rank: %s %s", problem.message, problem.advice)

    def _samples(self, value: Tensor) -> list[str]:
        ids = sample_ids_of(self._batch)
        owners = owners_of_rows(self._batch, None if ids is None else len(ids))
        kinds = [owners[kind].get(value.shape[0] if value.ndim else -1) for kind in owners]
        owner = next((o for o in kinds if o is not None), None)
        if owner is None:
            return []
        owner = owner.cpu()
        return [name_sample(ids, i) for i in sorted({int(owner[row]) for row in bad_rows(value)})]

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def forward_problem(
    name: str, module: nn.Module, inputs: Mapping[str, Tensor], key: str, output: Tensor, samples: list[str]
) -> Problem:
    """Return a problem that names the module, its inputs, its non-finite output and the affected samples."""
    kinds = " and ".join(
        kind for kind, has in (("NaN", output.isnan().any()), ("Inf", output.isinf().any())) if bool(has)
    )
    more = len(samples) - SAMPLES_SHOWN
    shown = samples[:SAMPLES_SHOWN] + ([f"{more} more"] if more > 0 else [])
    given = "; ".join(_range(value) for value in inputs.values()) or "no floats"
    weights = [p for p in module.parameters() if not bool(torch.isfinite(p).all())]
    return Problem(
        check="forward_non_finite",
        severity="error",
        message=f"The output of {name} ({type(module).__name__}) contains {kinds}, but its inputs are "
        f"finite: output {_range(output)}, inputs {given}."
        + (f" Affected: {', '.join(shown)}." if shown else ""),
        advice="Its weights are not finite, because of an earlier step."
        if weights
        else "Check its divisions by zero, roots and logarithms of values that may be zero, exponentials of "
        "large values, and overflow in half precision.",
        where=name,
    )


def _range(value: Tensor) -> str:
    finite = value.detach()[torch.isfinite(value.detach())]
    within = f"in [{float(finite.min()):.3g}, {float(finite.max()):.3g}]" if finite.numel() else "none finite"
    return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}, {within}"


def _plain(output: object) -> Any:
    """Convert the output of a module to a container that can be traversed.

    An object with attributes, such as a data class, is replaced by a mapping of its attributes.
    """
    if isinstance(output, Tensor | Mapping | list | tuple) or hasattr(output, "to_dict"):
        return output
    return vars(output) if hasattr(output, "__dict__") and not inspect.isclass(output) else output
