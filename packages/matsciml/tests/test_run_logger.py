import csv

from matsciml.runs.run_logger import RunLogger


def test_continued_log_keeps_rows_and_adds_columns(tmp_path):
    for step, metrics in enumerate([{"loss": 1.0}, {"loss": 0.5, "mae": 2.0}]):
        logger = RunLogger(tmp_path / "fit")
        logger.log_metrics(metrics, step)
        logger.finalize("success")
    with (tmp_path / "fit" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["loss"], row["mae"]) for row in rows] == [("0", "1.0", ""), ("1", "0.5", "2.0")]
