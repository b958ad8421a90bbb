import logging

import numpy as np
import pytest
from mml_data import LMDBDataset
from mml_data.convert.write import write_dataset


def write(samples, dest, **options):
    defaults = {
        "source": {"origin": "x"},
        "splits": (0.8, 0.1, 0.1),
        "seed": 0,
        "overwrite": False,
        "progress": False,
    }
    places = [(f"x:{number}", sample) for number, sample in enumerate(samples, 1)]
    return write_dataset(places, dest, **{**defaults, **options})


def test_the_seed_decides_the_split(tmp_path, samples):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(samples, tmp_path / name, seed=seed)
    splits = [LMDBDataset(tmp_path / name).split_indices("train").tolist() for name in "abc"]
    assert splits[0] == splits[1] != splits[2]


def test_a_share_of_zero_leaves_the_split_out(tmp_path, samples):
    manifest = write(samples, tmp_path / "out", splits=(0.75, 0.25, 0))
    assert {name: entry.count for name, entry in manifest.splits.items()} == {"train": 15, "val": 5}
    assert manifest.source == {
        "origin": "x",
        "split": {"shares": {"train": 0.75, "val": 0.25, "test": 0.0}, "seed": 0},
    }


@pytest.mark.parametrize("splits", [(0.8, 0.1), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.1, 0.1)])
def test_splits_that_are_no_shares(tmp_path, samples, splits):
    with pytest.raises(ValueError, match=r"splits must be three shares .* that sum up to 1, not"):
        write(samples, tmp_path / "out", splits=splits)
    assert not list(tmp_path.iterdir())


def test_splits_without_training(tmp_path, samples):
    with pytest.raises(ValueError, match="splits leave nothing for training"):
        write(samples, tmp_path / "out", splits=(0, 0.5, 0.5))


def test_too_few_samples_for_the_split(tmp_path, samples):
    with pytest.raises(ValueError, match="2 samples are too few: nothing is left for 'val'"):
        write(samples[:2], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_sample_that_cannot_be_stored_is_placed(tmp_path, samples):
    bad = {**samples[1], "pos": np.zeros((0, 3))}
    with pytest.raises(ValueError, match=r"x:2: .*pos must be"):
        write([samples[0], bad], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_data_set_is_replaced_only_when_that_is_said(tmp_path, samples):
    write(samples, tmp_path / "out")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write(samples[:10], tmp_path / "out")
    write(samples[:10], tmp_path / "out", overwrite=True)
    assert len(LMDBDataset(tmp_path / "out")) == 10


def test_progress_in_the_log(tmp_path, samples, caplog, monkeypatch):
    monkeypatch.setattr("mml_data.convert.write._LOG_EVERY", 8)
    with caplog.at_level(logging.INFO, "mml_data.convert"):
        write(samples, tmp_path / "quiet")
        assert not caplog.records
        write(samples, tmp_path / "out", progress=True)
    assert caplog.messages == ["8 structures are done", "16 structures are done"]
