"""Records of findings, the log that counts repeats, and the file of findings that a run writes."""

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
    """A problem that a check detected at one step.

    Parameters
    ----------
    check
        Name of the check, e.g. ``"overlapping_atoms"``.
    severity
        ``"info"`` is useful to know, ``"warning"`` probably harms the training, ``"error"`` certainly harms
        it.
    message
        Description of the problem in plain language.
    advice
        Suggested remedy.
    where
        Layer, parameter or sample that is affected; empty if the problem concerns the whole run. Problems
        with the same ``check`` and ``where`` belong to the same finding.
    patience
        Number of consecutive inspections that must detect the problem before it is reported.
    """

    check: str
    severity: Severity
    message: str
    advice: str
    where: str = ""
    patience: int = 1


@dataclass
class Finding:
    """A problem with the number of its occurrences and the global steps of the first and the last occurrence.

    The other fields are those of :class:`Problem`. ``message`` is the message of the first occurrence.
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
    """Collect findings and count their repeats.

    Parameters
    ----------
    max_places
        Maximum number of distinct places (``where``) per check. Problems at further places are counted
        together in one finding with ``where`` set to ``"elsewhere"``. This limits the file size for a broken
        data set.
    """

    def __init__(self, max_places: int = 20) -> None:
        self._max_places = max_places
        self._found: dict[tuple[str, str], Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        """All findings, in the order in which they were first seen."""
        return list(self._found.values())

    def add(self, problem: Problem, step: int) -> Finding:
        """Count ``problem``, detected at ``step``, and return its finding."""
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
        """Replace the current findings by those of a ``state`` that :meth:`state` returned earlier."""
        found = [Finding(**record) for record in state]
        self._found = {(finding.check, finding.where): finding for finding in found}


def write_findings(directory: str | Path, findings: Iterable[Finding]) -> Path:
    """Write ``findings`` as ``{"findings": [{...}, ...]}`` to ``findings.json`` in ``directory``.

    The file is written atomically: the content goes to a temporary file in the same directory, which is then
    renamed.

    Parameters
    ----------
    directory
        Directory of the run; created if it does not exist.
    findings
        Findings to write.

    Returns
    -------
    Path
        Path of the written file.
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
