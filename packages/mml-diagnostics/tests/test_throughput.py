"""ThroughputCallback reports consistent counts and times. The clock of the tests advances on request."""

import csv

import pytest
import torch
from mml_diagnostics import ThroughputCallback
from mml_diagnostics.observers.throughput import add_up, device_memory, peak_rss_bytes
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
    """Clock that a test advances."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("mml_diagnostics.observers.throughput.time", clock)
    return clock


def test_waiting_time_is_measured_separately(
    samples, make_loader, make_task, make_trainer, task_class, clock
):
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


def test_validation_and_checkpoints_are_excluded(
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


def test_reports_reach_loggers(samples, make_loader, make_task, make_trainer, tmp_path):
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


def test_single_batch_is_not_measured(samples, make_loader, make_task, make_trainer):
    callback = ThroughputCallback()
    make_trainer(callback, fast_dev_run=True).fit(make_task(), make_loader(samples))
    assert callback.summary == {}
    assert not callback.switched_off


def test_peak_rss_grows_with_memory():
    before = peak_rss_bytes()
    held = torch.ones(before // 4 + 2**25)
    assert peak_rss_bytes() > before
    del held
    assert peak_rss_bytes() > before


def test_invalid_options_are_rejected():
    with pytest.raises(ValueError, match="every_n_steps must be at least 1, got 0"):
        ThroughputCallback(every_n_steps=0)


def test_rates_are_summed_over_ranks():
    ranks = [
        {"atoms_per_second": 2.0, "data_wait_share": 0.1},
        {"atoms_per_second": 3.0, "data_wait_share": 0.4},
        {},
    ]
    assert add_up(ranks) == {"atoms_per_second": 5.0, "data_wait_share": 0.4}
    assert add_up([]) == {}


def test_cpu_has_no_device_memory():
    assert device_memory(torch.device("cpu")) == {}


RANKS = """
import csv, os, sys
import torch
from pathlib import Path
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader
from mml_diagnostics import ThroughputCallback

rank = int(os.environ["LOCAL_RANK"])


class Line(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Broken(ThroughputCallback):
    def _count(self, batch, busy):
        if self.broken and rank == 1:
            raise RuntimeError("broken on one rank")
        super()._count(batch, busy)


for version, broken in enumerate((False, True)):
    callback = Broken(every_n_steps=2)
    callback.broken = broken
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, callbacks=[callback],
        logger=CSVLogger(sys.argv[1], name="csv", version=version), log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, default_root_dir=sys.argv[1],
    )
    trainer.fit(Line(), DataLoader(torch.ones(8 * (rank + 1), 2), batch_size=2 * (rank + 1)))
    torch.save(callback.rank_summaries, Path(sys.argv[1]) / f"{version}-rank{rank}.pt")
torch.distributed.destroy_process_group()
"""


def test_two_ranks_are_summed(tmp_path, on_two_ranks):
    """Both cases share one run, because two ranks take half a minute to start on a small machine."""
    script = tmp_path / "run.py"
    script.write_text(RANKS)
    on_two_ranks(script, tmp_path)
    for version, broken in enumerate((False, True)):
        paths = [tmp_path / f"{version}-rank{rank}.pt" for rank in range(2)]
        first, second = (torch.load(path, weights_only=True) for path in paths)
        assert first == second
        assert [bool(rank) for rank in first] == [True, not broken]
        with (tmp_path / "csv" / f"version_{version}" / "metrics.csv").open() as file:
            rows = [r for r in csv.DictReader(file) if r.get("throughput/global/structures_per_second")]
        total = sum(rank.get("structures_per_second", 0) for rank in first)
        seen = float(rows[-1]["throughput/global/structures_per_second"])
        assert seen == pytest.approx(total, rel=1e-5)
