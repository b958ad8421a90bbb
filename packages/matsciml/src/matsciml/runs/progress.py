"""The progress bar of a fit, at most 80 columns wide."""

from __future__ import annotations

import re
from typing import TypeAlias

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme
from rich.progress import ProgressColumn

Metrics: TypeAlias = dict[str, int | str | float | dict[str, float]]


class RunProgressBar(RichProgressBar):
    """Lightning's progress bar with short metric names.

    The loss and both errors fit in two lines of 80 columns.

    ``train_loss_step`` becomes ``loss``, ``train_force_mae_step`` becomes ``force``, and
    ``train_energy_per_atom_mae_step`` becomes ``energy/atom``. Validation metrics keep their prefix:
    ``val_loss``.
    """

    def __init__(self) -> None:
        super().__init__(theme=RichProgressBarTheme(metrics_text_delimiter=" ", metrics_format=".3g"))

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Return the columns without the bar and the speed, which leaves room for the metrics."""
        names = ("TextColumn", "BatchesProcessedColumn", "CustomTimeColumn")
        columns = super().configure_columns(trainer)
        return [column for column in columns if type(column).__name__ in names]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Metrics:
        """Return the metrics of the bar under short names."""
        found = super().get_metrics(trainer, pl_module)
        return {short_name(name): value for name, value in found.items() if name != "v_num"}


def short_name(name: str) -> str:
    """Return a metric's name without the prefix and suffixes that all training metrics of the bar share.

    Parameters
    ----------
    name
        Name under which the metric is logged.
    """
    step = re.fullmatch(r"train_(.+?)(_mae)?_step", name)
    return step[1].replace("_per_atom", "/atom") if step else name
