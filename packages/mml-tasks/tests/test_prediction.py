import copy

import pytest
import torch
from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from mml_tasks.prediction import evaluation_mode
from mml_tasks.testing import ToyEncoder
from torch import nn


def test_predict_equals_trainer(data, make_trainer):
    task = ForceRegressionTask(ToyEncoder(), normalize_kwargs={"energy_mean": 3.0, "force_std": 2.0})
    (expected, *_) = make_trainer().predict(task, data)
    found = task.predict(next(iter(data.loader())))
    assert found["sample_id"] == expected["sample_id"] == [f"toy/{index:06d}" for index in range(4)]
    assert torch.equal(found["natoms"], expected["natoms"])
    for key in ("energy", "force"):
        assert torch.equal(found[key], expected["predictions"][key])
        assert not found[key].requires_grad


def test_single_sample_is_predicted(data):
    """The graph has no structure index, and the name is not a list."""
    task = ForceRegressionTask(ToyEncoder(), normalize_kwargs={"energy_mean": 3.0, "force_std": 2.0})
    batch = task.predict(next(iter(data.loader())))
    graph = copy.copy(data.samples[1][0])
    del graph.batch
    found = task.predict({"graph": graph, "sample_id": "toy/000001"})
    assert found["sample_id"] == ["toy/000001"]
    assert found["natoms"].tolist() == [len(graph.pos)]
    torch.testing.assert_close(found["energy"][0], batch["energy"][1])
    start = int(batch["natoms"][0])
    torch.testing.assert_close(found["force"], batch["force"][start : start + len(graph.pos)])


def test_unknown_element_is_named(data):
    numbers = {"energy_reference": {"H": -1.0}, "force_std": 1.0}
    task = ForceRegressionTask(ToyEncoder(), normalize_kwargs=numbers)
    with pytest.raises(ValueError, match=r"batch of sample 'toy/000001'"):
        task.predict({"graph": data.samples[1][0], "sample_id": "toy/000001"})


def test_evaluation_mode_is_undone(batch):
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


def test_incomplete_task_is_refused(batch):
    with pytest.raises(ValueError, match="has no targets yet"):
        ScalarRegressionTask(ToyEncoder()).predict(batch)
    with pytest.raises(ValueError, match=r"normalizers of \['energy', 'force'\] have no statistics yet"):
        ForceRegressionTask(ToyEncoder(), normalize_kwargs="auto").predict(batch)
