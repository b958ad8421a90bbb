"""Logged values, read back from the files of each logger."""

import csv
import json
import logging

import numpy as np
import pytest
import torch
from mml_diagnostics import ModelAutocorrelation
from mml_diagnostics.histogram import histogram_of
from mml_diagnostics.loggers import log_figure, log_histogram, log_scalars, log_table
from mml_diagnostics.testing import read_wandb
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

VALUES = torch.linspace(-1, 3, 101) ** 3
HISTOGRAM = histogram_of(VALUES, bins=16)
COLUMNS, ROWS = ["layer", "norm"], [["encoder.0", 1.5], ["head | out", 0.25]]


class Picture:
    """Stand-in for a matplotlib figure, which writes a file."""

    def savefig(self, file, **options):
        assert options == {"format": "png"}
        file.write(b"a picture")


def log_all(trainer):
    log_scalars(trainer, {"x/y": 1.5}, step=7)
    log_histogram(trainer, "norms/encoder", HISTOGRAM, step=7)
    log_histogram(trainer, "raw", [1.0, float("nan"), 2.0], step=8)
    log_table(trainer, "tables/norms", COLUMNS, ROWS, step=7)


def quantiles(name, histogram=HISTOGRAM):
    return {f"{name}/{key}": value for key, value in histogram.scalars.items()}


def test_wandb_offline_run_round_trips(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="test")
    log_all(make_trainer(logger=logger))
    logger.experiment.finish()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    rows = list(read_wandb(file))
    by_key = {
        key: (value, row["trainer/global_step"])
        for row in rows
        for key, value in row.items()
        if not key.startswith(("_", "trainer/"))
    }
    assert by_key["x/y"] == (1.5, 7)
    histogram, step = by_key["norms/encoder"]
    assert step == 7
    assert histogram["values"] == HISTOGRAM.counts.tolist()
    np.testing.assert_allclose(histogram["bins"], HISTOGRAM.edges, rtol=1e-12)
    assert sum(by_key["raw"][0]["values"]) == 2
    assert by_key["raw/non_finite"] == (1.0, 8)
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/**/*.table.json")
    assert json.loads(table.read_text()) | {"columns": COLUMNS, "data": ROWS} == json.loads(table.read_text())


def test_tensorboard_files_round_trip(make_trainer, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    log_all(make_trainer(logger=logger))
    logger.experiment.close()
    events = EventAccumulator(logger.log_dir).Reload()
    (scalar,) = events.Scalars("x/y")
    assert (scalar.step, scalar.value) == (7, 1.5)
    (event,) = events.Histograms("norms/encoder")
    stored = event.histogram_value
    assert (event.step, stored.num) == (7, 101)
    np.testing.assert_allclose([stored.min, stored.max], [-1, 27], rtol=1e-6)
    # the reader may join empty buckets: compare how many values lie below each limit
    below = dict(zip(HISTOGRAM.edges[1:], HISTOGRAM.counts.cumsum(), strict=True))
    total = 0.0
    for limit, count in zip(stored.bucket_limit, stored.bucket, strict=True):
        total += count
        nearest = min(below, key=lambda edge: abs(edge - limit))
        assert total == (below[nearest] if abs(nearest - limit) < 1e-9 else 0)
    assert total == 101
    assert events.Scalars("raw/non_finite")[0].value == 1
    (text,) = events.Tensors("tables/norms/text_summary")
    assert b"| head &#124; out | 0.25 |" in text.tensor_proto.string_val[0]


def test_mlflow_store_round_trips(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    logger = MLFlowLogger(tracking_uri=f"file:{tmp_path}/mlruns")
    trainer = make_trainer(logger=logger)
    log_all(trainer)
    log_figure(trainer, "pictures/spectrum", Picture(), step=3)
    client = mlflow.MlflowClient(f"file:{tmp_path}/mlruns")
    (run,) = client.search_runs([logger.experiment_id])
    assert run.data.metrics["x/y"] == 1.5
    for key, value in quantiles("norms/encoder").items():
        (metric,) = client.get_metric_history(run.info.run_id, key)
        assert (metric.step, metric.value) == (7, value)
    assert run.data.metrics["raw/non_finite"] == 1
    table = client.download_artifacts(run.info.run_id, "tables/norms-7.json", str(tmp_path))
    with open(table) as file:  # noqa: PTH123
        assert json.load(file) == {"columns": COLUMNS, "data": ROWS}
    assert [a.path for a in client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/spectrum-3.png"]


def test_csv_logger_writes_quantiles_and_files(make_trainer, tmp_path):
    logger = CSVLogger(tmp_path, name="a")
    trainer = make_trainer(logger=logger)
    log_all(trainer)
    log_figure(trainer, "pictures/../spectrum", Picture(), step=3)
    logger.save()
    with (tmp_path / "a" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    seen = {key: float(value) for row in rows if row["step"] == "7" for key, value in row.items() if value}
    assert seen == {"step": 7, "x/y": 1.5} | quantiles("norms/encoder")
    with (tmp_path / "a" / "version_0" / "tables" / "norms-7.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [COLUMNS, *([str(x) for x in row] for row in ROWS)]
    assert (tmp_path / "a" / "version_0" / "pictures" / "_" / "spectrum-3.png").read_bytes() == b"a picture"


def test_several_loggers_are_served(make_trainer, tmp_path):
    class Ours(TensorBoardLogger):
        pass

    class CSVLoggerOfTheirs(CSVLogger):
        pass

    loggers = [CSVLoggerOfTheirs(tmp_path, name="a"), Ours(tmp_path, name="b"), CSVLogger(tmp_path, name="c")]
    log_all(make_trainer(logger=loggers))
    loggers[1].experiment.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert EventAccumulator(loggers[1].log_dir).Reload().Tags()["histograms"] == ["norms/encoder", "raw"]
    assert loggers[0].experiment.metrics == loggers[2].experiment.metrics
    assert loggers[0].experiment.metrics[1] == quantiles("norms/encoder") | {"step": 7}
    log_all(make_trainer(logger=False))


def test_failing_logger_is_reported_once(make_trainer, tmp_path, caplog):
    class Broken(CSVLogger):
        def log_metrics(self, metrics, step=None):
            raise OSError("disk full")

    loggers = [Broken(tmp_path, name="a"), CSVLogger(tmp_path, name="b")]
    trainer = make_trainer(logger=loggers)
    with caplog.at_level(logging.ERROR, logger="mml_diagnostics"):
        log_scalars(trainer, {"x": 1.0}, step=1)
        log_scalars(trainer, {"x": 2.0}, step=2)
    assert loggers[1].experiment.metrics == [{"x": 1.0, "step": 1}, {"x": 2.0, "step": 2}]
    (record,) = [r for r in caplog.records if r.name == "mml_diagnostics.loggers"]
    assert record.getMessage() == "Broken rejected the values that a diagnostic logs."
    assert "disk full" in str(record.exc_info[1])


def test_row_of_wrong_length_is_rejected(make_trainer, tmp_path):
    with pytest.raises(ValueError, match="Row 1 of table t has 1 values for 2 columns"):
        log_table(make_trainer(logger=CSVLogger(tmp_path)), "t", ["a", "b"], [[1, 2], [3]], step=0)


def test_spectra_reach_all_loggers(make_trainer, make_task, samples, make_loader, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb = WandbLogger(save_dir=tmp_path, offline=True, project="test")
    board, table = TensorBoardLogger(tmp_path, name="board"), CSVLogger(tmp_path, name="csv")
    callback = ModelAutocorrelation(analyze_every_n_steps=20)
    trainer = make_trainer(callback, max_epochs=11, logger=[table, board, wandb], log_every_n_steps=1)
    trainer.fit(make_task(), make_loader(samples))  # 44 steps, analyzed at 20 and 40
    wandb.experiment.finish()
    assert not callback.switched_off
    time = float(callback.spectra["updates"].correlation_time)

    events = EventAccumulator(board.log_dir, size_guidance={"images": 0}).Reload()
    scalars = events.Scalars("autocorrelation/updates_time")
    assert [event.step for event in scalars] == [20, 40]
    assert scalars[-1].value == time
    (picture,) = events.Images("autocorrelation/spectra")
    assert picture.encoded_image_string.startswith(b"\x89PNG")

    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    rows = list(read_wandb(file))
    key = "autocorrelation/updates_time"
    assert [(r["trainer/global_step"], r[key]) for r in rows if key in r][-1] == (40, time)
    (image,) = [r["autocorrelation/spectra"] for r in rows if "autocorrelation/spectra" in r]
    stored = file.parent / "files" / image["path"]
    assert stored.read_bytes().startswith(b"\x89PNG")

    (picture,) = (tmp_path / "csv" / "version_0").glob("autocorrelation/spectra-*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
