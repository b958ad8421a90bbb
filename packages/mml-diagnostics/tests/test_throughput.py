"""ThroughputCallback: counts that add up, and a clock (here one of our own) that runs for training only."""

import csv

import pytest
import torch
from mml_diagnostics import ThroughputCallback
from mml_diagnostics.throughput import peak_rss_bytes
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger


def test_counts_and_rates_agree(samples, make_loader, make_task, make_trainer):
    callback = ThroughputCallback(every_n_steps=3)
    make_trainer(callback, max_epochs=2).fit(make_task(), make_loader(samples))
    summary = callback.summary
    assert summary["batches"] == 7  # eight, but the first
    per_batch = [samples[i : i + 8] for i in range(0, 32, 8)]
    measured = per_batch[1:] + per_batch
    atoms = sum(len(s["pos"]) for batch in measured for s in batch)
    edges = sum(s["edge_index"].shape[1] for batch in measured for s in batch)
    assert summary["structures_per_second"] * summary["seconds"] == pytest.approx(56)
    assert summary["atoms_per_second"] * summary["seconds"] == pytest.approx(atoms)
    assert summary["edges_per_second"] * summary["seconds"] == pytest.approx(edges)
    assert 0 < summary["data_wait_share"] < 1
    assert 0.05 < summary["peak_rss_gib"] < 50
    assert callback.findings == []


class Clock:
    """Time passes only where a test lets it pass."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("mml_diagnostics.throughput.time", clock)
    return clock


def test_waiting_for_data_is_told_apart(samples, make_loader, make_task, make_trainer, task_class, clock):
    class SlowData(list):
        def __getitem__(self, index):
            clock.now += 0.5
            return super().__getitem__(index)

    class SlowStep(task_class):
        def training_step(self, batch, batch_idx):
            clock.now += 1.0
            return super().training_step(batch, batch_idx)

    callback = ThroughputCallback()
    make_trainer(callback).fit(make_task(SlowStep), make_loader(SlowData(samples)))
    assert callback.summary["seconds"] == 3 * (8 * 0.5 + 1.0)
    assert callback.summary["data_wait_share"] == pytest.approx(4.0 / 5.0)
    assert callback.summary["structures_per_second"] == pytest.approx(8 / 5.0)


def test_validation_and_checkpoints_are_left_out(
    samples, make_loader, make_task, make_trainer, task_class, clock, tmp_path
):
    class Slow(task_class):
        def training_step(self, batch, batch_idx):
            clock.now += 1.0
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            clock.now += 100.0

        def on_save_checkpoint(self, checkpoint):
            clock.now += 100.0

    callback = ThroughputCallback()
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1)
    options = {"enable_checkpointing": True, "limit_val_batches": 1, "val_check_interval": 2, "max_epochs": 2}
    make_trainer(callback, saver, **options).fit(make_task(Slow), make_loader(samples), make_loader(samples))
    # of batches 0 to 7, validation comes after 1, 3, 5, 7 and a checkpoint after 2 and 5: left are 1, 5 and 7
    assert callback.summary["batches"] == 3
    assert callback.summary["seconds"] == 3.0


def test_reports_go_to_the_loggers(samples, make_loader, make_task, make_trainer, tmp_path):
    logger = CSVLogger(tmp_path, name="csv")
    trainer = make_trainer(ThroughputCallback(every_n_steps=2), logger=logger, log_every_n_steps=1)
    trainer.fit(make_task(), make_loader(samples))
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("throughput/atoms_per_second")]
    assert [int(row["step"]) for row in rows] == [1, 3]
    assert {key for key in rows[0] if key.startswith("throughput/")} == {
        f"throughput/{name}"
        for name in (
            "structures_per_second",
            "atoms_per_second",
            "edges_per_second",
            "data_wait_share",
            "peak_rss_gib",
        )
    }
    assert not any("throughput" in name for name in trainer.progress_bar_metrics)


def test_totals_survive_resume(samples, make_loader, make_task, make_trainer, tmp_path):
    first = ThroughputCallback()
    trainer = make_trainer(first)
    trainer.fit(make_task(), make_loader(samples))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = ThroughputCallback()
    make_trainer(second, max_epochs=2).fit(
        make_task(), make_loader(samples), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert (first.summary["batches"], second.summary["batches"]) == (3, 6)


def test_one_batch_measures_nothing(samples, make_loader, make_task, make_trainer):
    callback = ThroughputCallback()
    make_trainer(callback, fast_dev_run=True).fit(make_task(), make_loader(samples))
    assert callback.summary == {}
    assert not callback.switched_off


def test_peak_rss_grows_with_what_is_held():
    before = peak_rss_bytes()
    held = torch.ones(before // 4 + 2**25)
    assert peak_rss_bytes() > before
    del held
    assert peak_rss_bytes() > before


def test_options_out_of_range():
    with pytest.raises(ValueError, match="every_n_steps is 0"):
        ThroughputCallback(every_n_steps=0)
