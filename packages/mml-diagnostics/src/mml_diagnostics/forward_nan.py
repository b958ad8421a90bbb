"""ForwardNaNDetection: the first module whose output is not finite although its inputs are."""

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
from mml_diagnostics.gradient_check import GradientCheckCallback
from mml_diagnostics.non_finite import bad_rows, named_floats, owners_of_rows

logger = logging.getLogger(__name__)

SAMPLES_SHOWN = 4


class ForwardNaNDetection(DiagnosticCallback):
    """Find the module in whose forward pass a NaN or Inf first appears, with shapes, ranges and samples.

    Modules are asked in the order in which they finish, so that it is the innermost one that is named. While
    it is armed, a hook on every module reads its output; otherwise there are no hooks, and nothing is read
    from the device.

    It is armed by a bad gradient, which it learns from the trainer's ``GradientCheckCallback``: what is found
    is the next forward pass that goes wrong. It is disarmed when it has found a module, or after
    ``armed_steps`` steps without. Where there is no ``GradientCheckCallback`` it is armed by a loss that is
    not finite, which is read once per step.

    Validation is left alone. Each rank looks at its own forward passes, and one that finds something says so.

    Parameters
    ----------
    always
        Be armed from the first step on, and stay so.
    armed_steps
        For how many steps it stays armed.

    Attributes
    ----------
    armed
        Whether it is.

    Raises
    ------
    ValueError
        For ``armed_steps`` below one.
    """

    def __init__(self, always: bool = False, armed_steps: int = 100) -> None:
        if armed_steps < 1:
            raise ValueError(f"armed_steps is {armed_steps}; give a number of steps of at least 1.")
        super().__init__()
        self.always = always
        self.armed_steps = armed_steps
        self.armed = always
        self._armed_at = 0
        self._handles: list[RemovableHandle] = []
        self._batch: Any = None
        self._seen = False  # whether this forward pass has gone wrong already
        self._gradient_check: GradientCheckCallback | None = None
        self._bad_steps = 0
        self._loss: Tensor | None = None

    @never_fatal
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for the callback that knows of bad gradients."""
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self._gradient_check = next((c for c in callbacks if isinstance(c, GradientCheckCallback)), None)
        self._bad_steps = self._gradient_check.steps_non_finite if self._gradient_check else 0

    @never_fatal
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put hooks on the modules where it is armed."""
        self._step = trainer.global_step
        if self.armed and not self.always and self._step - self._armed_at > self.armed_steps:
            self.armed = False
        if self.armed:
            self._batch, self._seen = batch, False
            self._attach(pl_module)

    @never_fatal
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Take the hooks off: the forward pass is over. Remember the loss, not its value."""
        self._remove_hooks()
        self._loss = loss.detach()

    @never_fatal
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Decide whether to be armed from the next step on."""
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
        """Take the hooks off, and let go of the batch."""
        self._remove_hooks()
        self._batch = self._loss = None

    def state_dict(self) -> dict[str, Any]:
        """Return findings, and since when it is armed."""
        return super().state_dict() | {"armed": self.armed, "armed_at": self._armed_at}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Be armed as the resumed run was."""
        super().load_state_dict(state_dict)
        self.armed, self._armed_at = self.always or state_dict["armed"], state_dict["armed_at"]

    def _attach(self, pl_module: LightningModule) -> None:
        self._remove_hooks()
        for name, module in pl_module.named_modules():
            if module is not pl_module:
                self._handles.append(module.register_forward_hook(self._hook(name), with_kwargs=True))

    def _hook(self, name: str) -> Any:
        def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._look(name, module, args, kwargs, output)

        return look

    @never_fatal
    def _look(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._seen or not self._handles:
            return
        outputs = dict(named_floats(_plain(output)))
        broken = {key: value for key, value in outputs.items() if bad_rows(value)}
        if not broken:
            return
        inputs = dict(named_floats([*args, *kwargs.values()]))
        if any(bad_rows(value) for value in inputs.values()):
            return  # it came from elsewhere: from before, or from the batch itself
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
    """Say in which module a value stopped to be finite, from what inputs, and for which samples."""
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
        message=f"The output of {name} ({type(module).__name__}) holds {kinds} although its inputs are "
        f"finite: output {_range(output)}, inputs {given}."
        + (f" Concerned: {', '.join(shown)}." if shown else ""),
        advice="Its own weights are not finite: an earlier step spoiled them."
        if weights
        else "Look there for divisions by zero, roots and logarithms of what may be zero, exponentials of "
        "what may be large, and overflow in half precision.",
        where=name,
    )


def _range(value: Tensor) -> str:
    finite = value.detach()[torch.isfinite(value.detach())]
    within = f"in [{float(finite.min()):.3g}, {float(finite.max()):.3g}]" if finite.numel() else "none finite"
    return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}, {within}"


def _plain(output: Any) -> Any:
    """Make what a module returns walkable: the fields of a data class or other small object."""
    if isinstance(output, Tensor | Mapping | list | tuple) or hasattr(output, "to_dict"):
        return output
    return vars(output) if hasattr(output, "__dict__") and not inspect.isclass(output) else output
