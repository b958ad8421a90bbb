"""The logger that writes the metrics.csv of a run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import cast

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter


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
