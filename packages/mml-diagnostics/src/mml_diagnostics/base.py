"""What all diagnostics share: findings, the file, the console, and never being the reason a run dies."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from mml_diagnostics._lightning import Callback, LightningModule, Trainer
from mml_diagnostics.finding import LEVELS, Finding, FindingLog, Problem, write_findings

logger = logging.getLogger(__name__)

Hook = TypeVar("Hook", bound=Callable[..., None])


def never_fatal(method: Hook) -> Hook:
    """Wrap a hook of a diagnostic: what it raises is logged once, and switches the diagnostic off.

    A diagnostic that is switched off does nothing in any of its wrapped hooks.
    """

    @functools.wraps(method)
    def guarded(self: "DiagnosticCallback", *args: Any, **kwargs: Any) -> None:
        if self.switched_off:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.switch_off(method.__name__, error)

    return cast(Hook, guarded)


class DiagnosticCallback(Callback):
    """Base of the diagnostics: collects findings, says each once, and writes ``findings.json``.

    What was seen again is counted, and the counts are said when the fit ends.

    The file goes to the run's directory (``trainer.log_dir``, which is the trainer's ``default_root_dir``
    where it has no logger) when the fit ends, also where it ends in an exception. The diagnostics of one
    trainer share the file. Rank zero writes and speaks.
    ``fast_dev_run`` leaves no file, as it leaves no logs.

    Attributes
    ----------
    switched_off
        True after one of the diagnostic's own hooks raised.
    """

    def __init__(self) -> None:
        super().__init__()
        self.switched_off = False
        self._log = FindingLog()
        self._said: set[tuple[str, str]] = set()
        self._run_dir: str | None = None
        self._speaks = True
        self._world_size = 1
        self._step = 0  # the global step of the batch at hand

    @property
    def findings(self) -> list[Finding]:
        """What was found so far, in the order of first sight."""
        return self._log.findings

    def report(self, problem: Problem, step: int) -> Finding:
        """Count ``problem``; the first time in this process, log it at the level of its severity."""
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
        """Log ``error`` with its traceback, leave a finding, let go of what was attached, and stay quiet."""
        self.switched_off = True
        name = type(self).__name__
        logger.error("%s failed in %s and is switched off; training goes on.", name, hook, exc_info=error)
        problem = Problem(
            check="diagnostic_failed",
            severity="warning",
            message=f"{name} failed in {hook} ({type(error).__name__}: {error}) and was switched off.",
            advice="Nothing was watched from then on. Please report it with the traceback on the console.",
            where=name,
        )
        self._log.add(problem, self._step)
        self.detach()

    def detach(self) -> None:
        """Remove what the diagnostic attached to the module. Called when a fit ends, in whatever way."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out where the run's directory is."""
        if stage == "fit":
            # Not guarded: Lightning broadcasts it, and a rank that is switched off must still take part.
            self._speaks = trainer.is_global_zero
            self._world_size = trainer.world_size
            directory = trainer.log_dir or trainer.default_root_dir
            self._run_dir = None if trainer.fast_dev_run else str(directory)  # type: ignore[attr-defined]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the findings of all diagnostics of ``trainer``."""
        self._finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the findings of all diagnostics of ``trainer``: they may say why it died."""
        self._finish(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the findings as plain lists and dicts, which load with ``weights_only=True``."""
        return {"findings": self._log.state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up the findings of the run that is resumed."""
        self._log.load_state(state_dict["findings"])

    def _finish(self, trainer: Trainer) -> None:
        self._let_go()
        self._say_counts()
        if self._run_dir is None or not trainer.is_global_zero:
            return
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        everyone = [other for other in callbacks if isinstance(other, DiagnosticCallback)]
        try:
            write_findings(self._run_dir, [finding for other in everyone for finding in other.findings])
        except Exception:
            logger.exception("The findings could not be written to %s.", self._run_dir)

    def _say_counts(self) -> None:
        """Say how often each finding of this process was seen, where it was seen more than once."""
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
            "%s saw again: %s.",
            type(self).__name__,
            "; ".join(counts),
        )
        self._said.clear()

    @never_fatal
    def _let_go(self) -> None:
        self.detach()
