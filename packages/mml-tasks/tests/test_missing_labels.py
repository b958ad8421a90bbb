import logging
from types import SimpleNamespace

import pytest
import torch
from mml_tasks.losses.missing_labels import LabelCounts, MissingLabels

NAN = torch.nan


def test_counts_are_by_target():
    missing = LabelCounts()
    missing.add("energy", torch.tensor([[1.0], [NAN]]))
    missing.add("energy", torch.tensor([[NAN]]))
    missing.add("force", torch.tensor([[1.0, NAN, NAN], [1.0, 2.0, 3.0]]))  # one atom, not two numbers
    missing.add("gap", torch.tensor([NAN, 1.0]))
    missing.add("label", torch.tensor([0, 1, 2]))
    keys, cpu = ["energy", "force", "gap", "label", "other"], torch.device("cpu")
    assert missing.take(keys, cpu) == {
        "energy": (2, 3),
        "force": (1, 2),
        "gap": (1, 2),
        "label": (0, 3),
        "other": (0, 0),
    }
    assert missing.take(["energy"], cpu) == {"energy": (0, 0)}


class Task:
    """Task at the end of an epoch, which records logged numbers."""

    def __init__(self, sanity_checking: bool = False, limit: float = 1.0) -> None:
        self.trainer = SimpleNamespace(
            sanity_checking=sanity_checking, limit_train_batches=limit, is_last_batch=True
        )
        self.device = torch.device("cpu")
        self.logged: dict[str, float] = {}

    def log(self, name: str, value: float) -> None:
        self.logged[name] = value


def counted(first: int, rows: list[float]) -> MissingLabels:
    labels = MissingLabels()
    labels.begin_batch(first)
    for stage in ("train", "val"):
        labels.add(stage, "energy", torch.tensor(rows))
        labels.add(stage, "gap", torch.tensor([1.0]))
    labels.train.add_sums(labels.train.of_batch(["energy", "gap"]))
    return labels


@pytest.mark.parametrize("stage", ["train", "val"])
def test_report_logs_missing_labels(stage):
    labels, task = counted(0, [NAN, 1.0, NAN]), Task()
    labels.report(task, ["energy", "gap"], stage)
    assert task.logged == {f"{stage}_energy_missing": 2.0}
    labels.report(task, ["energy", "gap"], stage)
    assert task.logged == {f"{stage}_energy_missing": 2.0}


def test_sanity_check_is_not_reported():
    task = Task(sanity_checking=True)
    counted(0, [NAN]).report(task, ["energy", "gap"], "val")
    assert task.logged == {}


def test_unlabeled_target_is_refused_after_whole_epoch():
    with pytest.raises(ValueError, match=r"target 'energy' has no label in any of the 2 rows of this train"):
        counted(0, [NAN, NAN]).report(Task(), ["energy", "gap"], "train")


@pytest.mark.parametrize(("first", "limit", "stage"), [(1, 1.0, "train"), (0, 0.5, "train"), (0, 1.0, "val")])
def test_unlabeled_target_is_warned_about_otherwise(first, limit, stage, caplog):
    with caplog.at_level(logging.WARNING, "mml_tasks"):
        counted(first, [NAN]).report(Task(limit=limit), ["energy", "gap"], stage)
    assert f"target 'energy' has no label in any of the 1 rows of this {stage} epoch" in caplog.text
