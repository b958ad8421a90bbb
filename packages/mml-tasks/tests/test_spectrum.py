import pytest
import torch
from mml_tasks import SpectrumRegressionTask
from mml_tasks.normalization.training_pass import statistics_of_batches
from mml_tasks.testing import ToyEncoder

BINS = 6


@pytest.fixture
def spectra(data, monkeypatch):
    """The test data with spectra of which the last point is constant, and with statistics of each point."""
    generator = torch.Generator().manual_seed(0)
    for _, targets in data.samples:
        targets["dos"] = torch.rand(1, BINS, generator=generator) * torch.arange(BINS, 0, -1) + 10
        targets["dos"][0, -1] = 10.0
    found = statistics_of_batches(data.loader(), 100)["dos"]
    facts = {"dos": {**found, "kind": "spectrum", "shape": [1, BINS]}, "gap": {"kind": "scalar"}}
    monkeypatch.setattr(type(data), "target_statistics", lambda self: facts)
    return data


@pytest.mark.parametrize("keys", [None, ["dos"]])
def test_number_of_points_follows_from_data(spectra, make_trainer, batch, tmp_path, keys):
    task = SpectrumRegressionTask(encoder_class=ToyEncoder, task_keys=keys, normalize_kwargs="auto")
    with pytest.raises(ValueError, match="has no targets yet"):
        task.predict(batch)
    trainer = make_trainer()
    trainer.fit(task, spectra)
    assert task.task_keys == ["dos"]
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = SpectrumRegressionTask.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True).double()
    found = loaded.predict(batch)["dos"]
    assert found.shape == (5, BINS)
    torch.testing.assert_close(found, task.double().predict(batch)["dos"])


def test_each_point_is_normalized(spectra, make_trainer):
    task = SpectrumRegressionTask(encoder_class=ToyEncoder, normalize_kwargs="auto")
    make_trainer().fit(task, spectra)
    labels = torch.cat([targets["dos"] for _, targets in spectra.samples]).double()
    spread = labels.std(0, correction=0)
    torch.testing.assert_close(task.normalizers["dos"].mean, labels.mean(0))
    torch.testing.assert_close(task.normalizers["dos"].std[:-1], spread[:-1])
    assert task.normalizers["dos"].std[-1] == pytest.approx(0.1 * spread.square().mean().sqrt().item())


def test_unknown_number_of_points_is_refused(data, make_trainer):
    task = SpectrumRegressionTask(encoder_class=ToyEncoder, task_keys=["dos"])
    with pytest.raises(ValueError, match=r"the number of points of target 'dos' is unknown.* Pass num_bins="):
        make_trainer().fit(task, data)
    assert SpectrumRegressionTask(ToyEncoder(), task_keys=["dos"], num_bins={"dos": 3}).task_keys == ["dos"]
