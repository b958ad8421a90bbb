import pytest
import torch
from mml_tasks import ForceRegressionTask, MultiTaskLitModule
from mml_tasks.testing import ToyEncoder


def make_modules() -> list[ForceRegressionTask | MultiTaskLitModule]:
    return [ForceRegressionTask(ToyEncoder()), MultiTaskLitModule(("md", ForceRegressionTask(ToyEncoder())))]


@pytest.mark.parametrize("index", [0, 1])
def test_fit_restores_trainer(index, data, make_trainer):
    module = make_modules()[index]
    trainer = make_trainer(accumulate_grad_batches=2)
    trainer.fit(module, data)
    assert "convert_input" not in vars(trainer.precision_plugin)
    assert "dataloader" not in vars(trainer.fit_loop._data_source)


def test_state_dict_keeps_normalizer_names(data):
    task = ForceRegressionTask(ToyEncoder(), normalize_kwargs={"energy_mean": 2.0, "force_std": 3.0})
    state = task.state_dict()
    assert state["normalizers.energy.mean"].item() == 2.0
    assert state["normalizers.force.std"].item() == 3.0
    other = ForceRegressionTask(ToyEncoder())
    other.load_state_dict(state)
    batch = next(iter(data.loader()))
    assert torch.equal(other(batch)["energy"], task(batch)["energy"])
    assert other.normalization.normalizers is other.normalizers
