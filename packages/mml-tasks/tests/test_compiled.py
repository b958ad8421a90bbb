from typing import Any

import pytest
import torch
from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder


def force() -> ForceRegressionTask:
    torch.manual_seed(0)
    options: dict[str, Any] = {"energy_per_atom_mean": -0.1, "force_std": 0.9}
    return ForceRegressionTask(ToyEncoder(), normalize_kwargs=options, compute_stress=True)


def scalar(**options: Any) -> ScalarRegressionTask:
    torch.manual_seed(0)
    return ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"], **options)


# Dynamo reads .grad of the strained positions, which are not a leaf.
looks_at_gradients = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@looks_at_gradients
@pytest.mark.parametrize(("make", "backend"), [(scalar, "eager"), (scalar, "aot_eager")])
def test_compiled_encoder_trains_equally(make, backend, data, make_trainer):
    plain, compiled = make(lr=0.01), make(lr=0.01)
    compiled.encoder.compile(backend=backend)
    for task in (plain, compiled):
        make_trainer(max_epochs=2).fit(task, data)
    for (name, expected), found in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=name)


@looks_at_gradients
def test_compiled_encoder_predicts_forces(data, make_trainer):
    plain, compiled = force(), force()
    compiled.encoder.compile(backend="aot_eager")
    batch = next(iter(data.loader()))
    with torch.no_grad():
        expected, found = plain(batch), compiled(batch)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


@pytest.mark.parametrize("how", ["in place", "wrapped", "a part", "the task"])
def test_force_training_refuses_compiled_parts(how, data, make_trainer):
    task = force()
    if how == "in place":
        task.encoder.compile(backend="eager")
    elif how == "wrapped":
        task.encoder = torch.compile(task.encoder, backend="eager")
    elif how == "a part":
        next(task.encoder.children()).compile(backend="eager")
    model = torch.compile(task, backend="eager") if how == "the task" else task
    with pytest.raises(ValueError, match="is compiled, but a loss of forces needs second derivatives"):
        make_trainer().fit(model, data)


def test_checkpoint_has_original_names(data, make_trainer, tmp_path):
    task = scalar()
    task.encoder = torch.compile(task.encoder, backend="eager")
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "compiled.ckpt")
    plain = type(task).load_from_checkpoint(tmp_path / "compiled.ckpt", encoder=scalar().encoder)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, task.state_dict()[name]), name
    again = scalar()
    again.encoder = torch.compile(again.encoder, backend="eager")
    make_trainer(max_epochs=2).fit(again, data, ckpt_path=tmp_path / "compiled.ckpt")
    encoder = type(task).from_pretrained_encoder(tmp_path / "compiled.ckpt", encoder=scalar().encoder)
    assert encoder.pretrained_report.complete
