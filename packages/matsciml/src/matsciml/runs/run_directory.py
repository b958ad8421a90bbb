"""The directory of a run, `runs/<name>/`, with its config, metrics.csv, checkpoints and report."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import cast

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

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
        raise ValueError(f"--name {name!r} is not a plain directory name: give one without slashes")
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
        f"{option} {which}: no run named {name!r} under {runs} has a checkpoint {which}.ckpt; give the "
        "path of a checkpoint, or the run's --name and --runs_dir"
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


class _ContinuingWriter(ExperimentWriter):
    """Lightning's CSV writer, modified to keep the rows of a continued run instead of deleting them."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.metrics_keys = list(csv.DictReader(file).fieldnames or [])


class RunLogger(CSVLogger):
    """Logger that writes `<run>/metrics.csv` and appends to an existing file.

    Each row is written when it is logged, so that a killed run loses no rows.

    Parameters
    ----------
    run
        Directory of the run. It is created on first use.
    """

    def __init__(self, run: Path) -> None:
        super().__init__(save_dir=run.parent, name=run.name, version="", flush_logs_every_n_steps=1)
        self._run = run

    @property
    def log_dir(self) -> str:
        """Directory of the run."""
        return str(self._run)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The CSV writer, which is created on first use."""
        if self._experiment is None:
            self._run.mkdir(parents=True, exist_ok=True)
            self._experiment = _ContinuingWriter(log_dir=self.log_dir)
        return cast("ExperimentWriter", self._experiment)

    def log_hyperparams(self, *args: object, **kwargs: object) -> None:
        """Do nothing, because the run's config.yaml contains all hyperparameters."""
