"""The directory of a run, `runs/<name>/`, with its config, metrics.csv, checkpoints and report."""

from __future__ import annotations

import csv
import os
from pathlib import Path

LAST, BEST = "last.ckpt", "best.ckpt"
RUN_VARIABLE = "MATSCIML_RUN_DIR"
"""Environment variable with the run directory, for the processes that Lightning starts for more devices."""


def checkpoint_of(run: Path, which: str) -> Path:
    """Return the path of a run's ``last`` or ``best`` checkpoint."""
    return run / "checkpoints" / {"last": LAST, "best": BEST}[which]


def runs_named(runs: Path, name: str) -> list[Path]:
    """Return the existing runs `name`, `name-2`, `name-3`, ... in the order in which they were created."""
    found = [runs / name] if (runs / name).is_dir() else []
    numbered = [p for p in runs.glob(f"{name}-*") if p.is_dir() and p.name[len(name) + 1 :].isdigit()]
    return found + sorted(numbered, key=lambda p: int(p.name[len(name) + 1 :]))


def new_run(runs: Path, name: str) -> Path:
    """Return the first unused directory of `name`, `name-2`, `name-3`, ... without creating it.

    Processes that Lightning starts for more devices use the directory of their parent process.

    Raises
    ------
    ValueError
        If `name` is not a plain directory name.
    """
    if given := os.environ.get(RUN_VARIABLE):
        return Path(given)
    if not name or Path(name).name != name or name in (".", ".."):
        raise ValueError(f"--name must be a directory name without slashes, got {name!r}")
    taken = runs_named(runs, name)
    if not taken:
        return runs / name
    last = taken[-1].name[len(name) + 1 :]
    return runs / f"{name}-{int(last) + 1 if last else 2}"


def find_checkpoint(runs: Path, name: str, which: str, option: str = "--ckpt_path") -> Path:
    """Return the ``last`` or ``best`` checkpoint of the newest run named `name` that has one.

    Parameters
    ----------
    runs
        Directory of all runs.
    name
        Name of the run.
    which
        ``last`` or ``best``.
    option
        Command-line option that requests the checkpoint, for error messages.

    Raises
    ------
    FileNotFoundError
        If no run of that name has such a checkpoint.
    """
    for run in reversed(runs_named(runs, name)):
        if (path := checkpoint_of(run, which)).is_file():
            return path
    raise FileNotFoundError(
        f"{option} {which}: no run named {name!r} in {runs} has a {which}.ckpt; pass --name and --runs_dir "
        "of the run, or the path of a checkpoint"
    )


def trim_metrics(run: Path, step: int) -> None:
    """Remove the rows of a run's metrics.csv from `step` on, because these steps are repeated."""
    path = run / "metrics.csv"
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        header, rows = list(reader.fieldnames or []), [row for row in reader if int(row["step"]) < step]
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=header)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
