"""What a diagnostic found: the records, how repeats are counted, and the file that a run leaves behind."""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal["info", "warning", "error"]

FINDINGS_FILE = "findings.json"
LEVELS: Mapping[Severity, int] = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True)
class Problem:
    """One thing that a check saw at one step.

    Parameters
    ----------
    check
        Name of the check, e.g. ``"overlapping_atoms"``.
    severity
        ``"info"`` is worth knowing, ``"warning"`` is likely to hurt, ``"error"`` does hurt.
    message
        What was seen, in plain language.
    advice
        What to do about it.
    where
        Layer, parameter or sample concerned; empty where it is the run as a whole. Problems with the same
        ``check`` and ``where`` are the same finding.
    patience
        How many inspections in a row must see it before it is reported.
    """

    check: str
    severity: Severity
    message: str
    advice: str
    where: str = ""
    patience: int = 1


@dataclass
class Finding:
    """A problem, how often it was seen, and the (global) steps at which it was seen first and last.

    Fields are those of :class:`Problem`; ``message`` is the one of the first time.
    """

    check: str
    severity: Severity
    message: str
    advice: str
    where: str
    count: int
    first_step: int
    last_step: int


class FindingLog:
    """Collects findings: repeats are counted, and each is new only once.

    Parameters
    ----------
    max_places
        How many places (``where``) one check may name. What comes after that is counted together, in one
        finding whose ``where`` is ``"elsewhere"``, so that a broken data set does not fill the disk.
    """

    def __init__(self, max_places: int = 20) -> None:
        self._max_places = max_places
        self._found: dict[tuple[str, str], Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        """All findings, in the order in which they were first seen."""
        return list(self._found.values())

    def add(self, problem: Problem, step: int) -> Finding:
        """Count ``problem``, seen at ``step``, and return the finding that it belongs to."""
        key = (problem.check, problem.where)
        if (
            key not in self._found
            and sum(check == problem.check for check, _ in self._found) >= self._max_places
        ):
            key = (problem.check, "elsewhere")
        finding = self._found.get(key)
        if finding is None:
            finding = Finding(
                check=problem.check,
                severity=problem.severity,
                message=problem.message,
                advice=problem.advice,
                where=key[1],
                count=0,
                first_step=step,
                last_step=step,
            )
            self._found[key] = finding
        finding.count += 1
        finding.last_step = max(finding.last_step, step)
        return finding

    def state(self) -> list[dict[str, Any]]:
        """Return the findings as plain dicts, for a checkpoint or a file."""
        return [asdict(finding) for finding in self.findings]

    def load_state(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Replace what was found by what :meth:`state` returned earlier."""
        found = [Finding(**record) for record in state]
        self._found = {(finding.check, finding.where): finding for finding in found}


def write_findings(directory: str | Path, findings: Iterable[Finding]) -> Path:
    """Write ``findings`` as ``{"findings": [{...}, ...]}`` to ``findings.json`` in ``directory``.

    The file appears in one piece or not at all: it is written beside its place and then renamed.

    Parameters
    ----------
    directory
        The run's directory; made where it is missing.
    findings
        What to write.

    Returns
    -------
    Path
        The file.
    """
    path = Path(directory) / FINDINGS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    content = {"findings": [asdict(finding) for finding in findings]}
    try:
        beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
