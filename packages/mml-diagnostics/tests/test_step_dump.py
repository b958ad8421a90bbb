"""Dumps of bad steps that GradientCheckCallback writes during real trainings."""

import torch
from mml_diagnostics import GradientCheckCallback
from pytorch_lightning.strategies import SingleDeviceStrategy


def test_at_most_ten_steps_are_written(samples, make_loader, make_task, make_trainer, tmp_path, caplog):
    samples[0]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback(dump_dir=tmp_path / "dumps")
    make_trainer(callback, max_epochs=12).fit(make_task(), make_loader(samples[:8]))
    assert callback.steps_non_finite == 12
    assert len(list((tmp_path / "dumps").iterdir())) == 10
    assert sum("No more steps will be written" in r.getMessage() for r in caplog.records) == 1


def test_healthy_and_trial_runs_write_nothing(samples, make_loader, make_task, make_trainer, tmp_path):
    make_trainer(GradientCheckCallback(dump_dir=tmp_path / "dumps")).fit(make_task(), make_loader(samples))
    samples[0]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback(dump_dir=tmp_path / "dumps")
    make_trainer(callback, fast_dev_run=True).fit(make_task(), make_loader(samples))
    assert callback.steps_non_finite == 1
    assert not (tmp_path / "dumps").exists()


def test_failed_write_does_not_stop_run(samples, make_loader, make_task, make_trainer, tmp_path, caplog):
    (tmp_path / "a").mkdir()
    callback = GradientCheckCallback(dump_dir=tmp_path / "a" / "b")
    (tmp_path / "a" / "b").write_text("a file, made later")
    samples[0]["targets"]["energy"].fill_(torch.nan)
    trainer = make_trainer(callback, max_epochs=3)
    trainer.fit(make_task(), make_loader(samples))
    assert trainer.global_step == 12
    assert not callback.switched_off
    assert sum("could not be written" in r.getMessage() for r in caplog.records) == 1


def test_sharded_weights_are_not_written(samples, make_loader, make_task, make_trainer, tmp_path, caplog):
    class FSDPStrategy(SingleDeviceStrategy):
        """Strategy that is recognized by its name, like Lightning's strategy and its subclasses."""

    samples[0]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback(dump_dir=tmp_path / "dumps")
    make_trainer(callback, strategy=FSDPStrategy("cpu")).fit(make_task(), make_loader(samples))
    assert callback.steps_non_finite == 1
    assert not (tmp_path / "dumps").exists()
    assert sum("dump_dir is ignored, because FSDPStrategy" in r.getMessage() for r in caplog.records) == 1
