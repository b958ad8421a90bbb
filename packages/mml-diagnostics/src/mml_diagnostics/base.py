"""Base class of the diagnostics: it collects, logs and writes findings, and catches errors."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from mml_diagnostics._lightning import Callback, LightningModule, Trainer
from mml_diagnostics.console import leave_console
from mml_diagnostics.finding import LEVELS, Finding, FindingLog, Problem, write_findings

logger = logging.getLogger(__name__)

Hook = TypeVar("Hook", bound=Callable[..., None])


def never_fatal(method: Hook) -> Hook:
    """Wrap a hook so that an exception in it disables the diagnostic instead of ending the run.

    The exception is logged once. After that, none of the diagnostic's wrapped hooks does anything.
    """

    @functools.wraps(method)
    def guarded(self: "DiagnosticCallback", *args: object, **kwargs: object) -> None:
        if self.switched_off:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.switch_off(method.__name__, error)

    return cast(Hook, guarded)


class DiagnosticCallback(Callback):
    """Base class of the diagnostics: collects findings, logs each one once and writes ``findings.json``.

    A finding that occurs again is only counted. The counts are logged when the fit ends.

    The file is written when the fit ends, including when it ends with an exception. Its directory is that of
    the run: ``trainer.log_dir``, or the trainer's ``default_root_dir`` if the trainer has no logger. All
    diagnostics of a trainer share one file. Only rank zero writes and logs. With ``fast_dev_run``, no file is
    written.

    Attributes
    ----------
    switched_off
        Whether the diagnostic was disabled because one of its own hooks raised an exception.
    """

    def __init__(self) -> None:
        super().__init__()
        self.switched_off = False
        self._log = FindingLog()
        self._said: set[tuple[str, str]] = set()
        self._run_dir: str | None = None
        self._speaks = True
        self._world_size = 1
        self._step = 0  # the global step of the current batch

    @property
    def findings(self) -> list[Finding]:
        """Findings so far, in the order in which they were first seen."""
        return self._log.findings

    def report(self, problem: Problem, step: int) -> Finding:
        """Count ``problem`` and return its finding.

        The first occurrence in this process is logged on rank zero, at the level of the problem's severity.
        """
        finding = self._log.add(problem, step)
        key = (finding.check, finding.where)
        if key not in self._said:
            self._said.add(key)
            if self._speaks:
                place = f" [{finding.where}]" if finding.where else ""
                text = f"{problem.check}{place}, step {step}: {problem.message} {problem.advice}"
                logger.log(LEVELS[problem.severity], text)
        return finding

    def switch_off(self, hook: str, error: Exception) -> None:
        """Disable the diagnostic after ``error`` was raised in ``hook``; training continues.

        Logs the error with its traceback, records it as a finding and calls :meth:`detach`.
        """
        self.switched_off = True
        name = type(self).__name__
        logger.error("%s failed in %s and is disabled. Training continues.", name, hook, exc_info=error)
        problem = Problem(
            check="diagnostic_failed",
            severity="warning",
            message=f"{name} failed in {hook} ({type(error).__name__}: {error}) and was disabled.",
            advice="It checks nothing from then on. Report the error with the traceback in the log.",
            where=name,
        )
        self._log.add(problem, self._step)
        self.detach()

    def detach(self) -> None:
        """Remove hooks and references that the diagnostic attached to the module.

        Called at the end of every fit, including a fit that ends with an exception.
        """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Store the run's directory, the world size and whether this rank logs."""
        if stage == "fit":
            # Not guarded: trainer.log_dir is broadcast, so a disabled rank must take part as well.
            self._speaks = trainer.is_global_zero
            self._world_size = trainer.world_size
            directory = trainer.log_dir or trainer.default_root_dir
            self._run_dir = None if trainer.fast_dev_run else str(directory)  # type: ignore[attr-defined]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the findings of all diagnostics of ``trainer``."""
        self._finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the findings of all diagnostics of ``trainer``, which may explain the exception."""
        self._finish(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the findings as plain lists and dicts, which load with ``weights_only=True``."""
        return {"findings": self._log.state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the findings of the resumed run."""
        self._log.load_state(state_dict["findings"])

    def _finish(self, trainer: Trainer) -> None:
        self._let_go()
        self._say_counts()
        leave_console(self)
        if self._run_dir is None or not trainer.is_global_zero:
            return
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        everyone = [other for other in callbacks if isinstance(other, DiagnosticCallback)]
        try:
            write_findings(self._run_dir, [finding for other in everyone for finding in other.findings])
        except Exception:
            logger.exception("The findings could not be written to %s.", self._run_dir)

    def _say_counts(self) -> None:
        """Log how often each finding of this process occurred, for findings that occurred more than once."""
        again = [f for f in self.findings if f.count > 1 and (f.check, f.where) in self._said]
        if not again or not self._speaks:
            return
        names = [f"{f.check} [{f.where}]" if f.where else f.check for f in again]
        counts = [
            f"{name} {f.count} times, steps {f.first_step} to {f.last_step}"
            for name, f in zip(names, again, strict=True)
        ]
        logger.log(
            max(LEVELS[f.severity] for f in again),
            "%s found again: %s.",
            type(self).__name__,
            "; ".join(counts),
        )
        self._said.clear()

    @never_fatal
    def _let_go(self) -> None:
        self.detach()
