from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from mml_tasks.tasks.multitask.multitask_optimizer import parameter_groups
from mml_tasks.testing import ToyEncoder


def test_groups_separate_encoder_and_heads():
    encoder = ToyEncoder()
    force = ForceRegressionTask(encoder, lr=0.1, weight_decay=0.2)
    scalar = ScalarRegressionTask(encoder, task_keys=["gap"], lr=0.3)
    first, second, third = parameter_groups(encoder, {"lr": 0.5}, [force, scalar])
    assert first["lr"] == 0.5
    assert {id(p) for p in first["params"]} == {id(p) for p in encoder.parameters()}
    assert (second["lr"], second["weight_decay"]) == (0.1, 0.2)
    assert {id(p) for p in second["params"]} == {id(p) for p in force.output_heads.parameters()}
    assert {id(p) for p in third["params"]} == {id(p) for p in scalar.output_heads.parameters()}


def test_frozen_encoder_has_no_group():
    force = ForceRegressionTask(ToyEncoder(), freeze_encoder=True, lr=0.1)
    (group,) = parameter_groups(force.encoder, {"lr": 0.5}, [force])
    assert group["lr"] == 0.1
