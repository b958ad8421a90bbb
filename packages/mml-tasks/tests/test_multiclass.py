import pytest
import torch
from mml_tasks import BinaryClassificationTask, MulticlassClassificationTask
from mml_tasks.testing import ToyEncoder

NAMES = ["cubic", "hexagonal", "other"]


@pytest.fixture
def named(data, monkeypatch):
    """The test data with a target of three classes, of which labels are missing, and a binary one."""
    for index, (_, targets) in enumerate(data.samples):
        targets["family"] = torch.tensor([[float(index % 2) if index else torch.nan]])
    facts = {
        "family": {"classes": [0, 1], "class_counts": [4, 5], "class_names": NAMES, "kind": "class"},
        "is_metal": {"classes": [0, 1], "class_counts": [5, 5], "class_names": ["insulator", "metal"]},
        "gap": {"kind": "scalar", "per_atom_mean": 1.0},
    }
    monkeypatch.setattr(type(data), "target_statistics", lambda self: facts)
    return data


def test_classes_and_names_follow_from_data(named, make_trainer, batch, tmp_path):
    task = MulticlassClassificationTask(encoder_class=ToyEncoder, task_keys=["family"])
    trainer = make_trainer()
    trainer.fit(task, named)
    trainer.test(task, named, verbose=False)
    assert trainer.callback_metrics["test_family_missing"] == 1
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = MulticlassClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    logits = loaded.double().predict(batch)["family"]
    assert logits.shape == (5, 3)
    assert loaded.predicted_labels("family", torch.eye(3)) == NAMES
    assert (
        MulticlassClassificationTask(ToyEncoder(), num_classes={"x": 4}, task_keys=["x"]).head_width("x") == 4
    )


def test_binary_classes_have_names(named, make_trainer):
    task = BinaryClassificationTask(ToyEncoder(), task_keys=["is_metal"])
    assert task.predicted_labels("is_metal", torch.tensor([[1.0], [-1.0]])) == [1, 0]
    make_trainer().fit(task, named)
    assert task.predicted_labels("is_metal", torch.tensor([[1.0], [-1.0]])) == ["metal", "insulator"]


def test_targets_follow_from_data(named, make_trainer):
    task = MulticlassClassificationTask(ToyEncoder())
    make_trainer().fit(task, named)
    assert task.task_keys == ["family", "is_metal"]
    with pytest.raises(ValueError, match=r"the number of classes of target 'gap' is unknown.* num_classes="):
        make_trainer().fit(MulticlassClassificationTask(ToyEncoder(), task_keys=["gap"]), named)
