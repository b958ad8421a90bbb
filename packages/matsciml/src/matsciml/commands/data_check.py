"""`matsciml data check`: check the labels and structures of a data set against the laws of physics."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

if TYPE_CHECKING:
    from mml_data.physics.finding import Finding
    from mml_data.store.stored_dataset import StoredDataset

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan", "ok": "bold green"}
MOST_NAMES = 3
MOST_NAMES_JSON = 100


def add_check(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], find: Callable[[str], Path], dataset: str
) -> None:
    """Add the subcommand ``check``.

    Parameters
    ----------
    commands
        Subcommands of ``data``.
    find
        Function that returns the directory of a data set, given its path or the name of an embedded one.
    dataset
        Help of the argument with the data set.
    """
    text = "check labels and structures against the laws of physics"
    command = commands.add_parser(
        "check",
        help=text,
        description=f"{text[0].upper()}{text[1:]}: units, signs, outliers, duplicates and leakage.",
        epilog="The exit status is 1 if there is a finding of level error, and 0 otherwise.",
    )
    command.add_argument("dataset", metavar="DATASET", help=dataset)
    command.add_argument("--split", metavar="NAME", help="check one split only, for example train")
    command.add_argument("--json", action="store_true", help="print the findings as JSON")
    command.set_defaults(action=lambda options: _check(options, find))


def _check(options: argparse.Namespace, find: Callable[[str], Path]) -> int:
    from mml_data.physics.check_dataset import check_dataset
    from mml_data.store.stored_dataset import StoredDataset

    path = find(options.dataset)
    dataset = StoredDataset(path, split=options.split)
    findings = check_dataset(path, options.split)
    if options.json:
        print(json.dumps(_as_json(dataset, findings), indent=1))  # noqa: T201
    else:
        show_findings(dataset, findings, Console(highlight=False))
    return int(any(finding.severity == "error" for finding in findings))


def show_findings(dataset: StoredDataset, findings: Sequence[Finding], console: Console) -> None:
    """Print a report of the findings.

    Parameters
    ----------
    dataset
        Data set that was checked.
    findings
        Findings, in the order of the report.
    console
        Console to print to.
    """
    chosen = f", split {dataset.split}" if dataset.split else ""
    console.print(Text.assemble((f"{len(dataset):,} samples", "bold"), f" of {dataset.name}{chosen}"))
    whole = type(dataset)(dataset.path)
    for finding in findings:
        console.print()
        lead = Text.assemble((finding.severity, STYLES[finding.severity]), f" {finding.check}: ")
        console.print(lead.append(_sentence(finding.message)))
        if finding.advice:
            console.print(Padding(Text(f"-> {_sentence(finding.advice)}"), (0, 0, 0, 2), expand=False))
        if finding.severity != "ok" and finding.frames:
            names = "; ".join(_name(whole, index) for index in finding.frames[:MOST_NAMES])
            more = len(finding.frames) - MOST_NAMES
            rest = f"; and {more:,} more" if more > 0 else ""
            console.print(Padding(Text(f"samples: {names}{rest}", style="dim"), (0, 0, 0, 2), expand=False))
    counts = {level: sum(each.severity == level for each in findings) for level in ("error", "warning")}
    parts = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count]
    console.print()
    console.print(Text(", ".join(parts) or "no errors and no warnings", style="bold"))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _name(dataset: StoredDataset, index: int) -> str:
    about = _describe(dataset, index)
    source = f" ({about['source']}" if "source" in about else ""
    frame = f", frame {about['frame']}" if source and "frame" in about else ""
    return f"{about['sample_id']}{source}{frame}{')' if source else ''}"


def _describe(dataset: StoredDataset, index: int) -> dict[str, Any]:
    """Return the index, ``sample_id``, file and frame of a sample."""
    sample = dataset.stored(index)
    extra = sample.get("extra") or {}
    about = {"index": index, "sample_id": sample["sample_id"]}
    return about | {key: extra[key] for key in ("source", "frame") if isinstance(extra.get(key), str | int)}


def _as_json(dataset: StoredDataset, findings: Sequence[Finding]) -> dict[str, Any]:
    whole = type(dataset)(dataset.path)
    return {
        "dataset": dataset.name,
        "split": dataset.split,
        "samples": len(dataset),
        "findings": [
            {
                "check": each.check,
                "severity": each.severity,
                "message": each.message,
                "advice": each.advice,
                "numbers": dict(each.numbers),
                "count": len(each.frames),
                "indices": list(each.frames),
                "examples": [_describe(whole, index) for index in each.frames[:MOST_NAMES_JSON]],
            }
            for each in findings
        ],
    }
