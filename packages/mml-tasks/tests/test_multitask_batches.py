import pytest
from mml_tasks.tasks.multitask.multitask_batches import batches_by_dataset

ONE, TWO = {"graph": 1}, {"graph": 2}
NAMES = ["md", "bulk"]


def test_joint_batch_is_split():
    assert batches_by_dataset({"md": ONE, "bulk": TWO}, NAMES) == {"md": ONE, "bulk": TWO}
    assert batches_by_dataset({"md": None, "bulk": TWO}, NAMES) == {"bulk": TWO}


def test_single_batch_is_assigned():
    assert batches_by_dataset(ONE, ["md"]) == {"md": ONE}
    assert batches_by_dataset(ONE, NAMES, {"bulk": [], "md": []}, 1) == {"md": ONE}
    assert batches_by_dataset(ONE, NAMES, [[], []], 1) == {"bulk": ONE}


@pytest.mark.parametrize(
    ("batch", "loaders", "message"),
    [
        ([ONE], None, "a batch must be a dict, got list"),
        ({"md": ONE, "x": TWO}, None, r"\['x'\] are not among the data sets \['md', 'bulk'\]"),
        ({"md": None}, None, "is empty for each of the data sets"),
        (ONE, None, "cannot determine which of the data sets"),
        (ONE, {"x": []}, "cannot determine which of the data sets"),
        (ONE, [[]], "cannot determine which of the data sets"),
    ],
)
def test_ambiguous_batches_are_refused(batch, loaders, message):
    with pytest.raises(ValueError, match=message):
        batches_by_dataset(batch, NAMES, loaders)
