"""MonitorGradients: log gradient norms, and find gradients that are zero or do not change."""

import logging

import torch
from torch import Tensor
from torch.optim import Optimizer

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.console import speak_on_console
from mml_diagnostics.finding import Problem
from mml_diagnostics.loggers import log_histogram, log_scalars

logger = logging.getLogger(__name__)


class MonitorGradients(DiagnosticCallback):
    """Log gradient norms every ``step_frequency`` steps, and find gradients that are zero or repeat.

    The trainer's loggers receive ``gradients/<child>`` (the norm over each child of the module),
    ``gradients/total`` and a histogram ``gradients/norms`` of the parameters' gradient norms. Between two
    inspections, nothing is read from the device.

    Parameters
    ----------
    step_frequency
        Number of optimizer steps between two inspections.
    verbose
        Whether to print the norms to the console, even if logging is not configured.
    eps
        Norms up to this value count as zero. Gradients repeat if all elements differ by at most this value
        from those of the previous inspection.

    Raises
    ------
    ValueError
        If ``step_frequency`` is below one or ``eps`` is negative.
    """

    def __init__(self, step_frequency: int = 50, verbose: bool = False, eps: float = 1e-10) -> None:
        if step_frequency < 1:
            raise ValueError(f"step_frequency must be at least 1, got {step_frequency}")
        if not eps >= 0:
            raise ValueError(f"eps must be at least 0, got {eps}")
        super().__init__()
        self.step_frequency = step_frequency
        self.verbose = verbose
        self.eps = eps
        self._last: dict[str, Tensor] = {}

    @never_fatal
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the gradients of an earlier fit, and enable console output if ``verbose`` is True."""
        self._last = {}
        if self.verbose and self._speaks:
            speak_on_console(self)

    @never_fatal
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Check and log the gradients, if an inspection is due."""
        self._step = trainer.global_step
        if self._step % self.step_frequency:
            return
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        gradients = {
            name: p.grad.detach()
            for name, p in pl_module.named_parameters()
            if id(p) in mine and p.grad is not None
        }
        if not gradients:
            return
        norms = torch.stack([g.float().norm() for g in gradients.values()]).cpu()
        names = list(gradients)
        for name, norm in zip(names, norms.tolist(), strict=True):
            if norm <= self.eps:
                message = f"The gradient of {name} has norm {norm:.1e}."
                advice = "Check whether the loss depends on it, and whether its units are saturated."
                self.report(Problem("zero_gradient", "warning", message, advice, name), self._step)
        self._compare(gradients)
        scalars = {"gradients/total": float(norms.norm())}
        children = [name.partition(".")[0] for name in names]
        for child in dict.fromkeys(children):
            mask = torch.tensor([other == child for other in children])
            scalars[f"gradients/{child}"] = float(norms[mask].norm())
        log_scalars(trainer, scalars, self._step)
        log_histogram(trainer, "gradients/norms", norms, self._step)
        if self.verbose and self._speaks:
            shown = ", ".join(f"{key} {value:.3g}" for key, value in scalars.items())
            logger.info("Step %d: %s", self._step, shown)

    def detach(self) -> None:
        """Release the gradients of the last inspection."""
        self._last = {}

    def _compare(self, gradients: dict[str, Tensor]) -> None:
        common = [name for name in gradients if name in self._last]
        if common:
            changes = [(gradients[name] - self._last[name]).abs().max() for name in common]
            if float(torch.stack(changes).max()) <= self.eps:
                self.report(
                    Problem(
                        check="repeated_gradients",
                        severity="warning",
                        message=f"All gradients are equal to those of {self.step_frequency} steps before.",
                        advice="Check whether all batches are the same and the learning rate is zero.",
                    ),
                    self._step,
                )
        self._last |= {name: gradient.clone() for name, gradient in gradients.items()}
