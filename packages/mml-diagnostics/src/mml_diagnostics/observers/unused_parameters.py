"""UnusedParametersCallback: find parameters without a gradient or without an optimizer."""

from typing import Any

from torch.optim import Optimizer

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.finding import Problem


class UnusedParametersCallback(DiagnosticCallback):
    """Name the parameters without a gradient at an optimizer step, and those that belong to no optimizer.

    Each parameter is logged once. The ``count`` of an ``unused_parameter`` finding is the number of checked
    steps at which the parameter had no gradient. Nothing is read from the device.

    Parameters
    ----------
    num_steps
        Number of optimizer steps to check; -1 checks all.

    Raises
    ------
    ValueError
        If ``num_steps`` is neither -1 nor positive.
    """

    def __init__(self, num_steps: int = -1) -> None:
        if num_steps != -1 and num_steps < 1:
            raise ValueError(f"num_steps must be positive, or -1 for all steps, got {num_steps}")
        super().__init__()
        self.num_steps = num_steps
        self.steps_checked = 0
        self._names: dict[int, str] = {}

    @never_fatal
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the module's parameters with those of the optimizers."""
        self._names = {id(p): name for name, p in pl_module.named_parameters()}
        optimizers: list[Optimizer] = trainer.optimizers
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        known = {id(p) for group in groups for p in group["params"]}
        for name, parameter in pl_module.named_parameters():
            if parameter.requires_grad and id(parameter) not in known:
                message = f"{name} requires a gradient but is not trained, because no optimizer contains it."
                advice = "Pass it to an optimizer in configure_optimizers, or freeze it."
                self.report(Problem("parameter_without_optimizer", "warning", message, advice, name), 0)

    @never_fatal
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Find parameters of ``optimizer`` without a gradient."""
        if self.num_steps != -1 and self.steps_checked >= self.num_steps:
            return
        self._step = trainer.global_step
        self.steps_checked += 1
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None and parameter.requires_grad:
                    name = self._names.get(id(parameter), "a parameter outside the module")
                    message = f"{name} has no gradient, because the loss does not depend on it."
                    advice = (
                        "Use it, freeze it or remove it. Otherwise DDP requires find_unused_parameters=True."
                    )
                    self.report(Problem("unused_parameter", "warning", message, advice, name), self._step)

    def detach(self) -> None:
        """Release the module's parameter names."""
        self._names.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the findings and the number of checked steps."""
        return super().state_dict() | {"steps_checked": self.steps_checked}

    def load_state_dict(self, state_dict: Any) -> None:
        """Restore the findings and the number of checked steps of the resumed run."""
        super().load_state_dict(state_dict)
        self.steps_checked = state_dict["steps_checked"]
