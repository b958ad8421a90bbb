import pytest
import torch
from mml_tasks import ScalarRegressionTask
from mml_tasks.testing import ToyEncoder


def test_targets_have_own_heads_and_scales(batch):
    numbers = {"band_gap_mean": 1.0, "band_gap_std": 0.5, "density_mean": 5.0}
    options = {"task_keys": ["band_gap", "density"], "normalize_kwargs": numbers}
    task = ScalarRegressionTask(ToyEncoder(), output_kwargs={"last_layer_scale": 0.0}, **options).double()
    outputs = task(batch)
    assert outputs["band_gap"].squeeze(1).tolist() == [1.0] * 5
    assert outputs["density"].squeeze(1).tolist() == [5.0] * 5
    assert set(task.output_heads) == {"band_gap", "density"}


def test_targets_are_inferred_from_data(data, make_trainer):
    task = ScalarRegressionTask(ToyEncoder(), normalize_kwargs="auto")
    make_trainer().fit(task, data)
    assert task.task_keys == ["energy", "band_gap", "density"]
    expected = torch.cat([targets["density"] for _, targets in data.samples]).mean()
    torch.testing.assert_close(task.normalizers["density"].mean, expected.double())


def test_checkpoint_has_inferred_targets(data, make_trainer, tmp_path):
    task = ScalarRegressionTask(encoder_class=ToyEncoder, normalize_kwargs="auto")
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    loaded = ScalarRegressionTask.load_from_checkpoint(tmp_path / "task.ckpt")
    assert loaded.task_keys == task.task_keys
    for key, value in task.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key])
    assert make_trainer().predict(loaded, data.loader())[0]["predictions"]["density"].shape == (4, 1)


def test_missing_statistics_require_task_keys(data, make_trainer):
    with pytest.raises(ValueError, match="has no task_keys, and no data module"):
        make_trainer().fit(ScalarRegressionTask(ToyEncoder()), data.loader(), data.loader())


def test_data_without_scalars_is_refused(data, make_trainer):
    for _, targets in data.samples:
        for key in ("energy", "band_gap", "density"):
            del targets[key]
    with pytest.raises(ValueError, match=r"cannot learn any of the targets \['crystal_system'"):
        make_trainer().fit(ScalarRegressionTask(ToyEncoder()), data)


def test_per_atom_mean_is_refused():
    with pytest.raises(ValueError, match=r"unknown names \['energy_per_atom_mean'\]"):
        ScalarRegressionTask(
            ToyEncoder(), task_keys=["energy"], normalize_kwargs={"energy_per_atom_mean": 1.0}
        )
