import pytest
from mml_tasks.tasks.multitask.multitask_batches import batches_by_dataset

ONE, TWO = {"graph": 1}, {"graph": 2}
NAMES = ["md", "bulk"]


def test_a_dict_of_batches_is_taken_apart():
    assert batches_by_dataset({"md": ONE, "bulk": TWO}, NAMES) == {"md": ONE, "bulk": TWO}
    assert batches_by_dataset({"md": None, "bulk": TWO}, NAMES) == {"bulk": TWO}


def test_one_batch_belongs_to_the_only_data_set_or_to_that_of_its_loader():
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
def test_what_cannot_be_told_is_refused(batch, loaders, message):
    with pytest.raises(ValueError, match=message):
        batches_by_dataset(batch, NAMES, loaders)
