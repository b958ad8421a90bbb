import logging
from types import SimpleNamespace

import pytest
import torch
from mml_tasks.losses.missing_labels import LabelCounts, MissingLabels

NAN = torch.nan


def test_counts_are_by_structure():
    missing = LabelCounts()
    natoms = torch.tensor([2, 1, 3])
    missing.add("energy", torch.tensor([[1.0], [NAN], [2.0]]), natoms)
    missing.add("energy", torch.tensor([[NAN]]), torch.tensor([4]))
    force = torch.zeros(6, 3)
    force[0, 1:], force[3:] = NAN, NAN  # two components of the first structure, all of the third
    missing.add("force", force, natoms)
    missing.add("gap", torch.tensor([NAN, 1.0, 1.0]), natoms)
    missing.add("label", torch.tensor([0, 1, 2]), natoms)
    missing.add("spectrum", torch.tensor([[1.0, NAN], [1.0, 1.0], [NAN, NAN]]), natoms)
    keys, cpu = ["energy", "force", "gap", "label", "spectrum", "other"], torch.device("cpu")
    assert missing.take(keys, cpu) == {
        "energy": (2, 4, 2),
        "force": (2, 3, 7),
        "gap": (1, 3, 2),
        "label": (0, 3, 3),
        "spectrum": (2, 3, 3),
        "other": (0, 0, 0),
    }
    assert missing.take(["energy"], cpu) == {"energy": (0, 0, 0)}


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
        labels.add(stage, "energy", torch.tensor(rows), torch.ones(len(rows), dtype=torch.int64))
        labels.add(stage, "gap", torch.tensor([1.0]), torch.tensor([1]))
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
    with pytest.raises(ValueError, match=r"target 'energy' has no label in any of the 2 structures of this"):
        counted(0, [NAN, NAN]).report(Task(), ["energy", "gap"], "train")


@pytest.mark.parametrize(("first", "limit", "stage"), [(1, 1.0, "train"), (0, 0.5, "train"), (0, 1.0, "val")])
def test_unlabeled_target_is_warned_about_otherwise(first, limit, stage, caplog):
    with caplog.at_level(logging.WARNING, "mml_tasks"):
        counted(first, [NAN]).report(Task(limit=limit), ["energy", "gap"], stage)
    assert f"target 'energy' has no label in any of the 1 structures of this {stage} epoch" in caplog.text
