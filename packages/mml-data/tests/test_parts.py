import numpy as np
import pytest
from mml_data import LMDBDataset, LMDBWriter
from mml_data.loading.parts import Part, check_split_options, make_parts
from torch.utils.data import Dataset


def make(dataset, val=0.0, test=0.0, predict=None, seed=0, transforms=()):
    options = {"val": val, "test": test, "predict": predict}
    return make_parts(dataset, options, seed=seed, transforms=transforms, open_dataset=LMDBDataset)


def ids(made, name):
    return [int(sample["sample_id"].split("/")[1]) for sample in made.parts[name]]


class Squares(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {"sample_id": f"squares/{index}", "x": index**2}


def test_recorded_splits_are_used(stored, splits):
    made = make(LMDBDataset(stored))
    assert {name: ids(made, name) for name in ("train", "val", "test")} == splits
    assert made.parts["predict"] is made.parts["test"]
    assert made.recorded == "train"


def test_fractions_reduce_training_part(stored, splits):
    made = make(LMDBDataset(stored), val=0.25)
    assert sorted(ids(made, "train") + ids(made, "val")) == sorted(splits["train"])
    assert len(made.parts["val"]) == 3
    assert ids(made, "test") == splits["test"]
    assert made.recorded is None
    again = make(LMDBDataset(stored), val=0.25)
    assert ids(again, "val") == ids(made, "val")
    assert ids(make(LMDBDataset(stored), val=0.25, seed=1), "val") != ids(made, "val")


def test_data_set_without_splits_is_training_part(unsplit):
    whole = make(LMDBDataset(unsplit))
    assert list(whole.parts) == ["train"]
    assert whole.recorded == "all"
    made = make(LMDBDataset(unsplit), val=0.2, test=0.3, predict=0.1)
    assert [len(made.parts[name]) for name in ("train", "val", "test", "predict")] == [4, 2, 3, 1]
    assert sorted(index for name in made.parts for index in ids(made, name)) == list(range(10))


def test_training_part_is_remainder(tmp_path, samples):
    with LMDBWriter(tmp_path / "x") as writer:
        for sample in samples[:5]:
            writer.add(sample)
        writer.set_splits({"val": [1], "test": [3, 0]})
    made = make(LMDBDataset(tmp_path / "x"))
    assert (ids(made, "train"), ids(made, "val"), ids(made, "test")) == ([2, 4], [1], [3, 0])
    assert made.recorded is None


def test_path_gives_part(stored, unsplit):
    made = make(LMDBDataset(stored), val=unsplit, test=str(unsplit))
    assert made.parts["val"][3]["sample_id"] == "plain/000003"
    assert len(made.parts["test"]) == 10
    assert made.recorded == "train"


def test_selected_split_ignores_recorded_splits(stored, splits):
    made = make(LMDBDataset(stored, split="val"))
    assert ids(made, "train") == splits["val"]
    assert list(made.parts) == ["train"]
    assert made.recorded is None


def test_parts_need_length(stored):
    made = make(Squares(10), val=0.2, transforms=[lambda sample: {**sample, "x": sample["x"] + 1}])
    assert sorted(sample["x"] for part in made.parts.values() for sample in part) == [
        i**2 + 1 for i in range(10)
    ]
    assert made.recorded is None
    with pytest.raises(ValueError, match="has no samples"):
        make(Squares(0))
    with pytest.raises(TypeError, match="has no length; pass a data set with __len__"):
        make(Dataset())


def test_stored_skips_transforms(stored):
    part = Part(
        LMDBDataset(stored, [lambda sample: {**sample, "x": 1}]),
        np.array([4]),
        [lambda sample: {**sample, "y": 2}],
    )
    assert (part[0]["x"], part[0]["y"]) == (1, 2)
    assert "x" not in part.stored(0)
    assert "y" not in part.stored(0)
    assert part.stored(0)["sample_id"] == "toy/000004"
    assert Part(Squares(3), np.array([2])).stored(0)["x"] == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"val_split": 1.0},
            ValueError,
            "val_split must be from 0 to below 1, or the path of a data set, got 1.0",
        ),
        ({"val_split": -0.1}, ValueError, "val_split must be from 0 to below 1"),
        ({"val_split": float("nan")}, ValueError, "val_split must be from 0 to below 1"),
        (
            {"val_split": 0.6, "test_split": 0.4},
            ValueError,
            "val_split, test_split must sum to less than 1, got 1",
        ),
        ({"val_split": True}, TypeError, "val_split must be a fraction or a path, got bool"),
        ({"val_split": [1]}, TypeError, "val_split must be a fraction or a path, got list"),
    ],
)
def test_invalid_options_raise(options, error, message):
    with pytest.raises(error, match=message):
        check_split_options(options)


def test_valid_options_pass():
    check_split_options({"val_split": 0.0, "test_split": 0, "pred_split": None, "more": "path"})


def test_test_set_has_no_training_part(tmp_path, samples):
    with LMDBWriter(tmp_path / "x") as writer:
        writer.add(samples[0])
        writer.set_splits({"val": [0]})
    assert list(make(LMDBDataset(tmp_path / "x")).parts) == ["val"]
    with pytest.raises(ValueError, match="has no samples for training, because all are in the splits val"):
        make(LMDBDataset(tmp_path / "x"), test=0.5)
