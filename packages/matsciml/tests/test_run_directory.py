import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matsciml.runs.run_directory import find_checkpoint, new_run, runs_named, trim_metrics


def test_new_run_counts_up(tmp_path):
    for expected in ("fit", "fit-2", "fit-3"):
        run = new_run(tmp_path, "fit")
        assert run.name == expected
        run.mkdir()
    (tmp_path / "fit-test").mkdir()
    (tmp_path / "fit-10").mkdir()
    assert [run.name for run in runs_named(tmp_path, "fit")] == ["fit", "fit-2", "fit-3", "fit-10"]
    assert new_run(tmp_path, "fit").name == "fit-11"


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "/abs"])
def test_name_with_path_raises(tmp_path, name):
    with pytest.raises(ValueError, match="--name"):
        new_run(tmp_path, name)


def test_newest_run_with_checkpoint_is_found(tmp_path):
    for name in ("fit", "fit-2", "fit-3"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no run named 'fit'"):
        find_checkpoint(tmp_path, "fit", "last")
    for name in ("fit", "fit-2"):
        (tmp_path / name / "checkpoints" / "last.ckpt").touch()
    assert find_checkpoint(tmp_path, "fit", "last").parent.parent.name == "fit-2"


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_trim_keeps_earlier_rows(tmp_path_factory, steps, step):
    run = tmp_path_factory.mktemp("run")
    rows = [{"step": str(s), "loss": str(i), "other": ""} for i, s in enumerate(steps)]
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "loss", "other"])
        writer.writeheader()
        writer.writerows(rows)
    trim_metrics(run, step)
    with (run / "metrics.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [row for row in rows if int(row["step"]) < step]
