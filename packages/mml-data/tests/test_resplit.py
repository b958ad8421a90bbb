import subprocess
import sys

import numpy as np
import pytest
from mml_data import LMDBDataset, LMDBWriter, MatSciMLDataModule, split_dataset


@pytest.fixture
def copied(tmp_path, samples, splits):
    with LMDBWriter(tmp_path / "toy", shard_size=8) as writer:
        for index, sample in enumerate(samples):
            writer.add({**sample, "extra": {"origin": f"run-{index // 4}"}})
        writer.set_splits(splits)
    return tmp_path / "toy"


def test_random_split_replaces_recorded_one(copied):
    old = LMDBDataset(copied, split="train")
    before = [old.stored(index)["sample_id"] for index in range(len(old))]
    manifest = split_dataset(copied, {"train": 0.5, "val": 0.25, "test": 0.25}, seed=7)
    dataset = LMDBDataset(copied)
    dataset.verify()
    assert dataset.splits == {"train": 10, "val": 5, "test": 5}
    everything = np.concatenate([dataset.split_indices(name) for name in dataset.splits])
    assert sorted(everything.tolist()) == list(range(20))
    assert manifest.source["split"] == {
        "shares": {"train": 0.5, "val": 0.25, "test": 0.25}, "seed": 7, "group_by": "frame",
    }  # fmt: skip
    for name in dataset.splits:
        energy = [dataset.stored(int(index))["targets"]["energy"] for index in dataset.split_indices(name)]
        recorded = manifest.statistics[name]["targets"]["energy"]
        assert (recorded["count"], recorded["mean"]) == (len(energy), pytest.approx(np.mean(energy)))
    assert len(list(copied.glob("split-*"))) == 3
    assert [old.stored(index)["sample_id"] for index in range(len(old))] == before
    assert split_dataset(copied, {"train": 0.5, "val": 0.25, "test": 0.25}, seed=7).splits == manifest.splits
    assert split_dataset(copied, {"train": 0.5, "val": 0.25, "test": 0.25}, seed=8).splits != manifest.splits


@pytest.mark.parametrize("by", ["extra.origin", lambda sample: sample["extra"]["origin"]])
def test_groups_stay_together(copied, by):
    split_dataset(copied, {"train": 0.6, "test": 0.4}, group_by=by)
    dataset = LMDBDataset(copied)
    origins = {
        name: {dataset.stored(int(index))["extra"]["origin"] for index in dataset.split_indices(name)}
        for name in dataset.splits
    }
    assert not origins["train"] & origins["test"]
    assert dataset.splits == {"train": 12, "test": 8}


def test_trajectories_stay_together_by_default(tmp_path, samples):
    with LMDBWriter(tmp_path / "toy") as writer:
        for index, sample in enumerate(samples):
            writer.add({**sample, "extra": {"source": f"run-{index // 4}.xyz"}})
    manifest = split_dataset(tmp_path / "toy", {"train": 0.6, "test": 0.4})
    assert manifest.source["split"]["group_by"] == "extra.source"
    dataset = LMDBDataset(tmp_path / "toy")
    assert all(
        len({index // 4 for index in dataset.split_indices(name)}) * 4 == dataset.splits[name]
        for name in dataset.splits
    )
    assert split_dataset(tmp_path / "toy", group_by="frame").source["split"]["group_by"] == "frame"


def test_each_sample_is_tested_once(copied):
    tested = []
    for fold in range(5):
        manifest = split_dataset(copied, folds=5, fold=fold)
        assert manifest.source["split"] == {"folds": 5, "fold": fold, "seed": 0, "group_by": "frame"}
        dataset = LMDBDataset(copied)
        tested += dataset.split_indices("test").tolist()
        assert dataset.splits == {"train": 12, "val": 4, "test": 4}
    assert sorted(tested) == list(range(20))


def test_damaged_shard_raises_and_changes_nothing(copied):
    shard = next(iter(sorted(copied.glob("shard-*"))))
    data = shard.read_bytes()
    position = data.rindex(b"run-0")
    shard.write_bytes(data[:position] + b"run-9" + data[position + 5 :])
    before = (copied / "manifest.json").read_text()
    with pytest.raises(ValueError, match=r"shard-00000\.lmdb' does not match the manifest"):
        split_dataset(copied, {"train": 0.5, "val": 0.5})
    assert (copied / "manifest.json").read_text() == before
    assert len(LMDBDataset(copied, split="train")) == 12


def test_second_split_raises(copied):
    held = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, os, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\n"
         "fcntl.flock(fd, fcntl.LOCK_EX)\nprint(1, flush=True)\nsys.stdin.read()", str(copied)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    held.stdout.readline()
    with pytest.raises(BlockingIOError, match=r"another process is splitting '.*toy'; wait until it ends"):
        split_dataset(copied, {"train": 0.5, "val": 0.5})
    held.communicate()
    split_dataset(copied, {"train": 0.5, "val": 0.5})


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({}, "must be from 0 to 1 and sum to 1, got {}"),
        ({"train": 0.5, "val": 0.4}, "must be from 0 to 1 and sum to 1"),
        ({"train": 1.2, "val": -0.2}, "shares must be above 0"),
        ({"train": 1.0, "val": 0.0}, "shares must be above 0, .*; leave out a split without samples"),
        ({"train": 0.99, "val": 0.01}, "split 'val' would be empty, because 20 samples"),
    ],
)
def test_invalid_shares_raise(copied, shares, message):
    with pytest.raises(ValueError, match=message):
        split_dataset(copied, shares)


def test_invalid_groups_raise(copied):
    with pytest.raises(
        ValueError,
        match=r"toy/000000' has no key 'extra\.batch' to group by; use one of composition, .*extra\.origin",
    ):
        split_dataset(copied, {"train": 0.5, "val": 0.5}, group_by="extra.batch")
    with pytest.raises(
        ValueError, match=r"'targets\.force' of sample 'toy/000000' must be a single value, got .* \[\d, 3\]"
    ):
        split_dataset(copied, {"train": 0.5, "val": 0.5}, group_by="targets.force")
    with pytest.raises(
        ValueError, match="2 splits require at least 2 groups, but the samples have only 1: 'one'"
    ):
        split_dataset(copied, {"train": 0.5, "val": 0.5}, group_by=lambda sample: "one")
    with pytest.raises(ValueError, match="shares and folds are mutually exclusive"):
        split_dataset(copied, {"train": 0.5, "val": 0.5}, folds=5)


def test_test_set_needs_no_training_split(copied):
    split_dataset(copied, {"test": 1.0})
    assert LMDBDataset(copied).splits == {"test": 20}
    data = MatSciMLDataModule(train_path=copied, batch_size=4)
    data.setup("test")
    assert len(data.test_dataloader()) == 5
    for use in (lambda: data.setup("fit"), data.train_dataloader, data.target_statistics):
        with pytest.raises(
            ValueError,
            match="'toy' has no samples for training, because all are in the splits test; train on",
        ):
            use()
