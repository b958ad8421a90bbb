from typing import Any

import pytest
import torch
from mml_tasks import BinaryClassificationTask, CrystalSymmetryClassificationTask
from mml_tasks.testing import ToyEncoder
from torch import nn


def test_binary_loss_is_cross_entropy(batch):
    task = BinaryClassificationTask(ToyEncoder(), task_keys=["is_metal"]).double()
    result = task.validation_step(batch, 0)
    logits, labels = result["predictions"]["is_metal"], result["targets"]["is_metal"]
    assert logits.shape == (5, 1)
    assert torch.equal(labels, batch["targets"]["is_metal"].view(-1))
    expected = nn.functional.binary_cross_entropy_with_logits(logits.view(-1), labels.double())
    torch.testing.assert_close(task.training_step(batch, 0).detach(), expected)
    assert torch.equal(task.predicted_class(torch.tensor([[-0.1], [0.1], [7.0]])), torch.tensor([0, 1, 1]))


def test_space_groups_start_at_one(batch):
    task = CrystalSymmetryClassificationTask(
        ToyEncoder(), task_keys=["space_group", "crystal_system"]
    ).double()
    result = task.validation_step(batch, 0)
    logits, targets = result["predictions"], result["targets"]
    assert logits["space_group"].shape == (5, 230)
    assert logits["crystal_system"].shape == (5, 7)
    assert torch.equal(targets["space_group"] + 1, batch["targets"]["space_group"].view(-1))
    assert torch.equal(targets["crystal_system"], batch["targets"]["crystal_system"].view(-1))
    expected = sum(nn.functional.cross_entropy(logits[key], targets[key]) for key in logits)
    torch.testing.assert_close(task.training_step(batch, 0).detach(), expected)


@pytest.mark.parametrize("task_class", [BinaryClassificationTask, CrystalSymmetryClassificationTask])
def test_accuracy_is_exact_over_uneven_batches(task_class, data, make_trainer):
    task, trainer = task_class(ToyEncoder()), make_trainer()
    trainer.fit(task, data)
    metrics = trainer.validate(task, data, verbose=False)[0]
    results = [task.validation_step(batch, 0) for batch in data.loader()]
    for key in task.task_keys:
        right = [task.predicted_class(r["predictions"][key]) == r["targets"][key] for r in results]
        assert metrics[f"val_{key}_accuracy"] == pytest.approx(torch.cat(right).float().mean().item())


def test_targets_are_inferred_from_classes(data):
    statistics = data.target_statistics()
    assert BinaryClassificationTask(ToyEncoder()).infer_task_keys(statistics) == ["is_metal"]
    symmetry = CrystalSymmetryClassificationTask(ToyEncoder())
    assert symmetry.infer_task_keys(statistics) == ["space_group", "crystal_system"]


def test_checkpoint_keeps_num_classes(make_trainer, data, tmp_path):
    options: dict[str, Any] = {"task_keys": ["is_metal"], "num_classes": {"is_metal": 2}}
    task, trainer = CrystalSymmetryClassificationTask(encoder_class=ToyEncoder, **options), make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    loaded = CrystalSymmetryClassificationTask.load_from_checkpoint(tmp_path / "task.ckpt")
    assert loaded.head_width("is_metal") == 2


def test_unknown_num_classes_is_refused():
    with pytest.raises(
        ValueError, match=r"number of classes of target 'color' is unknown, .* Pass num_classes="
    ):
        CrystalSymmetryClassificationTask(ToyEncoder(), task_keys=["color"])


@pytest.mark.parametrize(
    ("key", "label", "message"),
    [
        ("space_group", 0, r"'space_group' is 0 in sample 'toy/000001', expected a label from 1 to 230"),
        ("crystal_system", 7, r"'crystal_system' is 7 in sample 'toy/000001', expected a label from 0 to 6"),
        ("crystal_system", 1.5, r"'crystal_system' is 1.5 in sample"),
    ],
)
def test_invalid_labels_are_refused(batch, key, label, message):
    task = CrystalSymmetryClassificationTask(ToyEncoder(), task_keys=[key])
    target = batch["targets"][key].to(torch.tensor(label).dtype)
    target[1, 0] = label
    with pytest.raises(ValueError, match=message):
        task.check_target(key, target, batch)


def test_labels_of_atoms_are_refused(batch):
    batch["targets"]["is_metal"] = torch.zeros(16, dtype=torch.int64)
    with pytest.raises(
        ValueError, match=r"'is_metal' must have one label for each of the 5 structures, got shape \[16\]"
    ):
        BinaryClassificationTask(ToyEncoder(), task_keys=["is_metal"]).double().training_step(batch, 0)


def test_labels_have_no_normalizer():
    with pytest.raises(ValueError, match=r"unknown names \['is_metal_mean'\]"):
        BinaryClassificationTask(
            ToyEncoder(), task_keys=["is_metal"], normalize_kwargs={"is_metal_mean": 0.5}
        )


@pytest.mark.parametrize("task_class", [BinaryClassificationTask, CrystalSymmetryClassificationTask])
def test_missing_labels_are_excluded(task_class, data, make_trainer, collate_samples):
    """The result equals that of the samples with labels."""
    key = "is_metal" if task_class is BinaryClassificationTask else "space_group"
    for index, (_, targets) in enumerate(data.samples):
        targets[key] = targets[key].float()
        if index in (0, 3, 9):
            targets[key].fill_(torch.nan)
    task, trainer = task_class(ToyEncoder(), task_keys=[key], lr=0.0), make_trainer()
    trainer.fit(task, data.loader(), data.loader())
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert logged[f"val_{key}_missing"] == 3
    labeled = collate_samples([sample for index, sample in enumerate(data.samples) if index not in (0, 3, 9)])
    result = task.validation_step(labeled, 0)
    right = task.predicted_class(result["predictions"][key]) == result["targets"][key]
    assert logged[f"val_{key}_accuracy"] == pytest.approx(right.float().mean().item())
    assert logged["train_loss"] == pytest.approx(task.training_step(labeled, 0).item(), rel=1e-5)
    whole = task.validation_step(collate_samples(data.samples), 0)
    assert (whole["targets"][key] == -100).nonzero().view(-1).tolist() == [0, 3, 9]


def test_older_argument_freezes_encoder():
    task = CrystalSymmetryClassificationTask(ToyEncoder(), freeze_embedding=True)
    assert task.freeze_encoder
    assert not any(parameter.requires_grad for parameter in task.encoder.parameters())
