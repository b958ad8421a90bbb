import pytest
from mml_diagnostics.testing import read_wandb


def test_read_wandb_returns_nested_and_long_rows(tmp_path, monkeypatch):
    """A record that is longer than a block of 32 KiB is stored in fragments."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    rows = [{"loss": 0.5}, {"text": "x" * 70_000}, {"norm": {"encoder": {"max": 2.0}}, "loss": 0.25}]
    run = wandb.init(mode="offline", dir=tmp_path, project="test")
    for row in rows:
        run.log(row)
    run.finish()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    read = [{key: value for key, value in row.items() if not key.startswith("_")} for row in read_wandb(file)]
    assert read == rows
