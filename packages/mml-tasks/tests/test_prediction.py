import pytest
import torch
from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from mml_tasks.prediction import evaluation_mode
from mml_tasks.testing import ToyEncoder
from torch import nn


def test_predict_is_what_a_trainer_predicts_with_the_samples_names(data, make_trainer):
    task = ForceRegressionTask(ToyEncoder(), normalize_kwargs={"energy_mean": 3.0, "force_std": 2.0})
    (expected, *_) = make_trainer().predict(task, data)
    found = task.predict(next(iter(data.loader())))
    assert found["sample_id"] == expected["sample_id"] == [f"toy/{index:06d}" for index in range(4)]
    assert torch.equal(found["natoms"], expected["natoms"])
    for key in ("energy", "force"):
        assert torch.equal(found[key], expected["predictions"][key])
        assert not found[key].requires_grad


def test_the_mode_of_every_module_is_as_before(batch):
    task = ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"], output_kwargs={}).double()
    task.encoder.mix.append(nn.Dropout(0.5))
    task.train()
    task.encoder.eval()
    assert torch.equal(task.predict(batch)["band_gap"], task.predict(batch)["band_gap"])
    assert task.training
    assert task.output_heads.training
    assert not task.encoder.training
    with pytest.raises(RuntimeError, match="stop"), evaluation_mode(task):
        raise RuntimeError("stop")
    assert task.training


def test_what_is_not_ready_to_predict_says_so(batch):
    with pytest.raises(ValueError, match="has no task_keys yet"):
        ScalarRegressionTask(ToyEncoder()).predict(batch)
    with pytest.raises(ValueError, match=r"normalisers of \['energy', 'force'\] have no numbers yet"):
        ForceRegressionTask(ToyEncoder(), normalize_kwargs="auto").predict(batch)
