"""Send scalars, histograms, tables and figures to all loggers of a trainer.

A logger is recognized by the name of its class or of a base class, so that no logging library is imported
here and the loggers of both Lightning packages are supported. Weights & Biases and TensorBoard receive
histograms; all other loggers receive the quantiles of a histogram. Loggers other than Weights & Biases,
TensorBoard and MLflow receive tables and figures as files in the logger's directory. Only rank zero logs. If
a logger raises an exception, the exception is logged once per logger, and the other loggers still receive
the data.
"""

import csv
import io
import json
import logging
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

from mml_diagnostics._lightning import Trainer
from mml_diagnostics.histogram import Histogram, Values, histogram_of

_logger = logging.getLogger(__name__)

KINDS = ("WandbLogger", "TensorBoardLogger", "MLFlowLogger")

_failed: "WeakSet[Any]" = WeakSet()


def log_scalars(trainer: Trainer, scalars: Mapping[str, float], step: int) -> None:
    """Send ``scalars`` to all loggers of ``trainer``, but not to the progress bar."""
    _to_each(trainer, lambda logger, kind: logger.log_metrics(dict(scalars), step=step))


def log_histogram(trainer: Trainer, name: str, values: Histogram | Values, step: int) -> None:
    """Send a histogram to all loggers of ``trainer``.

    Weights & Biases and TensorBoard receive counts and edges, under ``name``. All other loggers receive the
    quantiles, as ``<name>/q05`` and so on. If there are non-finite values, every logger receives their number
    as ``<name>/non_finite``.

    Parameters
    ----------
    trainer
        Trainer whose loggers receive the histogram.
    name
        Key of the histogram, e.g. ``"gradient_norms/encoder"``.
    values
        Values of any shape, or a :class:`~mml_diagnostics.histogram.Histogram` of them.
    step
        Global step.
    """
    if not trainer.loggers or not trainer.is_global_zero:
        return
    histogram = values if isinstance(values, Histogram) else histogram_of(values)
    _to_each(trainer, lambda logger, kind: _histogram(logger, kind, name, histogram, step))


def log_table(
    trainer: Trainer, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], step: int
) -> None:
    """Send a table to all loggers of ``trainer``.

    Weights & Biases receives a table, TensorBoard a text, MLflow a JSON artifact ``<name>-<step>.json`` (an
    object with ``columns`` and ``data``). For other loggers, the table is written to ``<name>-<step>.csv`` in
    the logger's directory.

    Raises
    ------
    ValueError
        If a row does not have one value per column.
    """
    for index, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(f"Row {index} of table {name} has {len(row)} values for {len(columns)} columns.")
    _to_each(trainer, lambda logger, kind: _table(logger, kind, name, columns, rows, step))


def log_figure(trainer: Trainer, name: str, figure: Any, step: int) -> None:
    """Send a figure to all loggers of ``trainer``.

    Weights & Biases and TensorBoard receive an image, MLflow an artifact ``<name>-<step>.png``. For other
    loggers, the figure is written to a file of the same name in the logger's directory.

    Parameters
    ----------
    trainer
        Trainer whose loggers receive the figure.
    name
        Key of the figure.
    figure
        A matplotlib figure; it is not closed.
    step
        Global step.
    """
    _to_each(trainer, lambda logger, kind: _figure(logger, kind, name, figure, step))


def _to_each(trainer: Trainer, send: Callable[[Any, str], None]) -> None:
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        try:
            send(logger, _kind(logger))
        except Exception:
            if logger not in _failed:
                _failed.add(logger)
                _logger.exception("%s rejected the values that a diagnostic logs.", type(logger).__name__)


def _kind(logger: Any) -> str:
    names = [cls.__name__ for cls in type(logger).__mro__]
    return next((kind for kind in KINDS if kind in names), "")


def _histogram(logger: Any, kind: str, name: str, histogram: Histogram, step: int) -> None:
    numbers = {f"{name}/{key}": value for key, value in histogram.scalars.items()}
    drawn = kind in ("WandbLogger", "TensorBoardLogger")
    if drawn and histogram.total:
        counts, edges = histogram.counts, histogram.edges
        if kind == "WandbLogger":
            import wandb

            # Sent without `step`, as in Lightning: W&B drops data for a step that it has already passed.
            logger.experiment.log(
                {name: wandb.Histogram(np_histogram=(counts, edges)), "trainer/global_step": step}
            )
        else:
            middle = (edges[:-1] + edges[1:]) / 2
            logger.experiment.add_histogram_raw(
                name,
                min=histogram.quantiles[0.0],
                max=histogram.quantiles[1.0],
                num=histogram.total,
                sum=float(counts @ middle),
                sum_squares=float(counts @ middle**2),
                bucket_limits=edges.tolist(),
                bucket_counts=[
                    0.0,
                    *counts.tolist(),
                ],  # a bucket is defined by its upper limit: no value lies below the first edge
                global_step=step,
            )
    if drawn:
        numbers = {key: value for key, value in numbers.items() if key.endswith("/non_finite")}
    if numbers:
        logger.log_metrics(numbers, step=step)


def _table(
    logger: Any, kind: str, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], step: int
) -> None:
    if kind == "WandbLogger":
        import wandb

        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        logger.experiment.log({name: table, "trainer/global_step": step})
    elif kind == "TensorBoardLogger":
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join(f"| {' | '.join(str(x).replace('|', '&#124;') for x in line)} |" for line in lines)
        logger.experiment.add_text(name, text, global_step=step)
    elif kind == "MLFlowLogger":
        content = json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}, default=str)
        _artifact(logger, f"{name}-{step}.json", content.encode())
    else:
        file = io.StringIO(newline="")
        csv.writer(file).writerows([columns, *rows])
        _file(logger, f"{name}-{step}.csv", file.getvalue().encode())


def _figure(logger: Any, kind: str, name: str, figure: Any, step: int) -> None:
    if kind == "TensorBoardLogger":
        logger.experiment.add_figure(name, figure, global_step=step, close=False)
        return
    if kind == "WandbLogger":
        import wandb

        logger.experiment.log({name: wandb.Image(figure), "trainer/global_step": step})
        return
    content = io.BytesIO()
    figure.savefig(content, format="png")
    (_artifact if kind == "MLFlowLogger" else _file)(logger, f"{name}-{step}.png", content.getvalue())


def _artifact(logger: Any, path: str, content: bytes) -> None:
    """Store ``content`` as an artifact of the MLflow run, under the folder and the file name in ``path``."""
    folder, _, name = _plain(path).rpartition("/")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / name
        file.write_bytes(content)
        logger.experiment.log_artifact(logger.run_id, str(file), folder or None)


def _file(logger: Any, path: str, content: bytes) -> None:
    directory = getattr(logger, "log_dir", None) or logger.save_dir
    if directory is None:
        return
    file = Path(directory) / _plain(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _plain(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9_./ -]", "_", path).strip("/").replace("..", "_")
