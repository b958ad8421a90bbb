import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.store.splits import check_splits, random_split, read_numbers, write_split


@given(
    size=st.integers(10, 200),
    val=st.floats(0.1, 0.4),
    test=st.floats(0.1, 0.4),
    seed=st.integers(0, 2**31),
)
def test_random_split_partitions_indices(size, val, test, seed):
    indices = np.arange(size) * 3 + 1
    parts = random_split(indices, {"val": val, "test": test}, seed)
    assert list(parts) == ["train", "val", "test"]
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), indices)
    assert len(parts["val"]) == round(val * size)
    assert len(parts["test"]) == round(test * size)
    again = random_split(indices, {"val": val, "test": test}, seed)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    np.testing.assert_array_equal(random_split(indices, {"val": val}, seed)["val"], parts["val"])


def test_other_seed_changes_split():
    assert len({tuple(random_split(np.arange(50), {"val": 0.5}, seed)["val"]) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"val": 0.0}, "the fraction for 'val' must be above 0 and below 1, got 0.0"),
        ({"val": 1.0}, "must be above 0 and below 1"),
        ({"val": -0.1}, "must be above 0 and below 1"),
        ({"val": 0.5, "test": 0.5}, r"must sum to less than 1, got 0.5 \(val\) \+ 0.5 \(test\)"),
        ({"val": 0.01}, "split 'val' would be empty, because 10 samples"),
        ({"val": 0.99}, "split 'train' would be empty, because 10 samples"),
    ],
)
def test_invalid_fractions_raise(fractions, message):
    with pytest.raises(ValueError, match=message):
        random_split(np.arange(10), fractions, 0)


def test_reading_inverts_writing(tmp_path):
    indices = np.array([5, 3, 2**40])
    entry = write_split(tmp_path, "train", indices)
    assert (entry.file, entry.count) == ("split-train.npy", 3)
    np.testing.assert_array_equal(read_numbers(tmp_path, entry, check=True), indices)
    np.save(tmp_path / "split-train.npy", indices[::-1])
    read_numbers(tmp_path, entry)
    with pytest.raises(ValueError, match=r"split-train\.npy' does not match its checksum"):
        read_numbers(tmp_path, entry, check=True)
    np.save(tmp_path / "split-train.npy", indices[:2])
    with pytest.raises(ValueError, match=r"must be \[3\] int64, got \[2\] int64"):
        read_numbers(tmp_path, entry)
    (tmp_path / "split-train.npy").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"split-train\.npy' is missing or damaged"):
        read_numbers(tmp_path, entry)
    np.save(tmp_path / "split-train.npy", np.array([None, 1, 2], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is missing or damaged"):
        read_numbers(tmp_path, entry)


@pytest.mark.parametrize(
    ("splits", "error", "message"),
    [
        (
            {"a": [0, 1], "b": [1, 2]},
            ValueError,
            "'a' and 'b' must be disjoint, but they share 1 indices, for example 1",
        ),
        ({"a": [0, 1, 0]}, ValueError, "split 'a' contains the index 0 more than once"),
        ({"a": []}, ValueError, "split 'a' must be a list of at least one index"),
        ({"a": [[0]]}, ValueError, "split 'a' must be a list"),
        ({"a": [-1]}, ValueError, "indices of split 'a' must be at least 0, got -1"),
        ({"a": [0.5]}, TypeError, "split 'a' must contain integers, got float64"),
        ({"../a": [0]}, ValueError, "invalid name '../a' of a split"),
        ({"all": [0]}, ValueError, "invalid name 'all' of a split"),
    ],
)
def test_invalid_splits_raise(splits, error, message):
    with pytest.raises(error, match=message):
        check_splits(splits)


def test_valid_splits_keep_order():
    checked = check_splits({"train": range(3), "val": np.array([9, 4], dtype=np.uint8)})
    assert {name: (part.dtype.name, part.tolist()) for name, part in checked.items()} == {
        "train": ("int64", [0, 1, 2]),
        "val": ("int64", [9, 4]),
    }
