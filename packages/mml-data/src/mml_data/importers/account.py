"""Account of an import: files, structures, targets, other labels, and warnings.

Each process logs the facts that the records do not contain while it writes its part. At the end, the logs of
all parts and the schema of the records become one account, which does not depend on the number of parts or on
interruptions.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from types import TracebackType
from typing import Any, Self, TextIO

from mml_data.importers.expressions import did_you_mean
from mml_data.importers.labels import (
    QUANTITIES_WITH_UNITS,
    LabelPlan,
    Recipe,
    ambiguous_labels,
    unknown_quantity,
)

__all__ = ["PartLog", "Unusable", "check_targets", "make_account", "show_account"]

_ABSENT: dict[str, Any] = {"samples": 0, "units": None}
_WIDTH = 80
_SHOWN = 12
_ADDED = ("source", "frame")  # items of extra that every import adds


class Unusable(ValueError):  # noqa: N818
    """Error of a complete import. The same call would raise it again."""


class PartLog:
    """Log of one part, as JSON lines. Every line has the position of a structure in the part.

    Parameters
    ----------
    path
        Path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: set[int] = set()
        self._waiting: list[str] = []
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def skipped(self, position: int, place: str, error: Exception) -> None:
        """Log a structure that is skipped because of an error."""
        self._add(position, "skipped", place=place, error=str(error))

    def warned(self, position: int, place: str, text: object) -> None:
        """Log a warning about a structure."""
        self._add(position, "warning", place=place, text=str(text))

    def used(self, position: int, recipe: Recipe) -> None:
        """Log the names of labels when they occur for the first time."""
        if id(recipe) not in self._seen:
            self._seen.add(id(recipe))
            self._add(
                position,
                "names",
                targets=[[step.becomes, step.name] for step in recipe.targets],
                keys=[[step.becomes, step.name] for step in recipe.keys],
                extra=[list(each) for each in recipe.extra],
                notes=recipe.notes,
            )

    def flush(self) -> None:
        """Write the log to disk."""
        if self._waiting and self._file is not None:
            self._file.writelines(self._waiting)
            self._file.flush()
        self._waiting.clear()

    def resume(self, count: int) -> int:
        """Keep the lines about the structures of the first `count` records and those skipped among them.

        Returns
        -------
        int
            Position of the first structure that is not yet written.
        """
        lines = list(self.lines())
        position = count
        for failed in sorted({line["position"] for line in lines if line["kind"] == "skipped"}):
            position += failed < position
        kept = [json.dumps(line) + "\n" for line in lines if line["position"] < position]
        if kept:
            self.path.write_text("".join(kept), encoding="utf-8")
        else:
            self.path.unlink(missing_ok=True)
        return position

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the log. An incomplete last line, which a killed process leaves, is ignored."""
        if self.path.exists():
            with self.path.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.endswith("\n"))

    def _add(self, position: int, kind: str, **facts: object) -> None:
        self._waiting.append(json.dumps({"position": position, "kind": kind, **facts}) + "\n")


def make_account(
    facts: Mapping[str, Any], logs: Iterable[PartLog], schema: Mapping[str, Mapping[str, Any]], count: int
) -> dict[str, Any]:
    """Make the account of an import.

    Parameters
    ----------
    facts
        Description of the source: ``files`` (number of files, default 1) and ``passed_over`` (files that were
        not read, with reasons).
    logs
        Logs of the parts, in order.
    schema
        Schema of the data set.
    count
        Number of structures in the data set.

    Returns
    -------
    dict
        ``files``, ``passed_over``, ``structures`` and ``skipped``; ``targets`` and ``keys``, which contain
        the number of ``structures``, the labels that they are made ``from``, the kind and the units;
        ``extra`` (number of structures by name); ``labels`` and ``atom_labels`` (all other names in the
        files); ``warnings`` with ``count`` and ``example``; and ``notes``.
    """
    origins: dict[str, dict[str, dict[str, None]]] = {"targets": {}, "keys": {}}
    others: dict[str, dict[str, None]] = {"targets": {}, "labels": {}, "atom_labels": {}}
    warnings: dict[str, dict[str, Any]] = {}
    notes: dict[str, None] = {}
    skipped = 0
    for log in logs:
        for line in log.lines():
            if line["kind"] == "skipped":
                skipped += 1
            elif line["kind"] == "warning":
                group = re.sub(r"\d+(\.\d+)?", "#", line["text"])
                entry = warnings.setdefault(
                    group, {"text": line["text"], "count": 0, "example": line["place"]}
                )
                entry["count"] += 1
            else:
                for part, names in origins.items():
                    for becomes, name in line[part]:
                        names.setdefault(becomes, {})[name] = None
                for place, name in line["extra"]:
                    others[place][name] = None
                notes |= dict.fromkeys(line["notes"])
    return {
        "files": facts.get("files", 1),
        "passed_over": facts.get("passed_over", []),
        "structures": count,
        "skipped": skipped,
        "targets": {
            name: _entry(schema.get(f"targets.{name}", _ABSENT), origins["targets"].get(name, {}))
            for name in sorted({*origins["targets"], *_targets(schema)})
        },
        "keys": {
            key: _entry(schema[key], names) for key, names in sorted(origins["keys"].items()) if key in schema
        },
        "extra": {
            key.removeprefix("extra."): entry["samples"]
            for key, entry in sorted(schema.items())
            if key.startswith("extra.")
        },
        **{place: sorted(names) for place, names in others.items() if place != "targets"},
        "warnings": list(warnings.values()),
        "notes": sorted(notes),
    }


def _targets(schema: Iterable[str]) -> list[str]:
    return [key.removeprefix("targets.") for key in schema if key.startswith("targets.")]


def _entry(entry: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    kind = {"kind": entry["kind"]} if "kind" in entry else {}
    return {"structures": entry["samples"], "from": sorted(names), **kind, "units": entry["units"]}


def check_targets(account: Mapping[str, Any], plan: LabelPlan) -> None:
    """Check that the import found the targets of its plan.

    Raises
    ------
    Unusable
        If a requested target was not found, or if there are no targets although none were excluded. The
        message lists the labels of the source.
    """
    found = "; ".join(
        f"{title}: {', '.join(account[place]) or 'none'}"
        for place, title in (("labels", "labels of structures"), ("atom_labels", "labels of atoms"))
    )
    known = [*account["targets"], *account["labels"], *account["atom_labels"]]
    for becomes, expression in (plan.wanted or {}).items():
        if becomes in account["targets"]:
            if not account["targets"][becomes]["structures"]:
                name = expression.name or becomes
                raise Unusable(f"the label {name!r} is missing (null or NaN) in every structure")
        else:
            name = expression.name or becomes
            label = repr(name) if name == becomes else f"{name!r} (for the target {becomes!r})"
            raise Unusable(
                f"no structure has the label {label}{did_you_mean(name, known)} The source has the {found}"
            )
    for name in plan.classes:
        if name not in account["targets"]:
            raise Unusable(
                f"classes contain {name!r}, which is not a target{did_you_mean(name, known)} "
                f"The source has the {found}"
            )
    for name in plan.units:
        if name not in QUANTITIES_WITH_UNITS and name not in account["targets"]:
            raise Unusable(unknown_quantity(name, account["targets"]))
    if any(entry["structures"] for entry in account["targets"].values()) or plan.wanted is not None:
        return
    names = [*account["labels"], *account["atom_labels"]]
    reasons = "".join(f". {name} is not used, because {why}" for name, why in ambiguous_labels(names).items())
    example = f"targets=[{names[0]!r}] (--targets {names[0]})" if names else "labels=FILE (--labels FILE)"
    raise Unusable(
        f"no targets were found. The source has the {found}{reasons}. To import a label as a target, pass "
        f"for example {example}; to import structures without targets, pass targets=() (--targets without "
        "names)"
    )


def show_account(account: Mapping[str, Any]) -> str:
    """Return the account as plain text of at most 80 columns."""
    count = account["structures"]
    files = account["files"]
    lines = [f"{count:,} structure{'s' * (count != 1)} from {files:,} file{'s' * (files != 1)}"]
    if account["skipped"]:
        lines.append(f"{account['skipped']:,} skipped because of errors; see errors.jsonl")
    if account["passed_over"]:
        lines.append(f"passed over ({len(account['passed_over']):,}):")
        lines += _some([f"{each['file']}: {each['reason']}" for each in account["passed_over"]])
    for part in ("targets", "keys"):
        if account[part]:
            lines.append(f"{part}:")
        for name, entry in account[part].items():
            coverage = f"{entry['structures']:,} of {count:,}"
            about = ", ".join(str(each) for each in (entry.get("kind"), entry["units"]) if each)
            origin = "" if entry["from"] in ([name], []) else f", from {', '.join(entry['from'])}"
            lines += _wrapped(f"{name}: {coverage}" + (f" ({about})" if about else "") + origin, "  ")
    if not account["targets"]:
        lines.append("targets: none")
    extra = {name: number for name, number in account["extra"].items() if name not in _ADDED}
    if extra:
        lines += _wrapped("extra: " + ", ".join(f"{name} ({number:,})" for name, number in extra.items()), "")
    for note in account["notes"]:
        lines += _wrapped(f"note: {note}", "")
    for warning in account["warnings"]:
        text = f"warning: {warning['text']} ({warning['count']:,} times, first in {warning['example']})"
        lines += _wrapped(text, "")
    for found in account.get("findings", ()):
        lines += _wrapped(f"{found['severity']} in some samples: {found['message']}; {found['advice']}", "")
    return "\n".join(lines)


def _some(items: list[str]) -> list[str]:
    shown = [line for item in items[:_SHOWN] for line in _wrapped(item, "  ")]
    return shown + ([f"  and {len(items) - _SHOWN:,} more"] if len(items) > _SHOWN else [])


def _wrapped(text: str, indent: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)
