from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from mml_tasks.tasks.multitask.multitask_arguments import (
    check_options,
    check_tasks,
    set_task_keys,
    share_encoder,
    task_weights,
)
from mml_tasks.testing import ToyEncoder
from torch import nn

NAMES = ["md/ForceRegressionTask", "bulk/ScalarRegressionTask", "bulk/ForceRegressionTask"]
weights = st.floats(0, 100)


def scalar(**options: Any) -> ScalarRegressionTask:
    return ScalarRegressionTask(ToyEncoder(), **options)


@given(given_weights=st.lists(weights, min_size=3, max_size=3), left_out=st.sets(st.sampled_from(NAMES)))
def test_weights_are_given_in_order_or_by_name_and_are_one_where_none_is(given_weights, left_out):
    by_name = dict(zip(NAMES, given_weights, strict=True))
    assert task_weights(given_weights, NAMES) == task_weights(by_name, NAMES) == by_name
    some = {name: value for name, value in by_name.items() if name not in left_out}
    assert task_weights(some, NAMES) == by_name | dict.fromkeys(left_out, 1.0)
    assert list(task_weights(some, NAMES)) == NAMES


def test_without_weights_all_are_one():
    assert task_weights(None, NAMES) == dict.fromkeys(NAMES, 1.0)


@pytest.mark.parametrize(
    ("given_weights", "message"),
    [
        ([1.0, 2.0], "task_scaling has 2 weights, expected one for each of the tasks"),
        ({"md/ScalarRegressionTask": 1.0}, "'md/ScalarRegressionTask'"),
        ([1.0, -1.0, 1.0], "must be finite and not negative"),
        ([1.0, float("nan"), 1.0], "must be finite and not negative"),
    ],
)
def test_weights_that_cannot_be_are_refused(given_weights, message):
    with pytest.raises(ValueError, match=message):
        task_weights(given_weights, NAMES)


@pytest.mark.parametrize(
    ("tasks", "error", "message"),
    [
        ([], ValueError, "MultiTaskLitModule needs at least one task"),
        ([("md", nn.Linear(1, 1))], TypeError, r"pairs of data set name and task, got tuple \('md', Linear"),
        ([(scalar(), "md")], TypeError, "pairs of data set name and task"),
        ([("md",)], TypeError, "pairs of data set name and task"),
        ([("", scalar())], ValueError, "data set '' has an invalid name"),
        ([("a/b", scalar())], ValueError, "data set 'a/b' has an invalid name"),
        ([("keys", scalar())], ValueError, "data set 'keys' has an invalid name"),  # a method of ModuleDict
        ([("md", scalar()), ("md", scalar())], ValueError, "task md/ScalarRegressionTask was passed twice"),
        (
            [("md", scalar(scheduler_kwargs={"OneCycleLR": {}}))],
            ValueError,
            "has scheduler_kwargs, but all tasks share one optimizer",
        ),
        (
            [("md", scalar(lr_scaling="sqrt"))],
            ValueError,
            "has lr_scaling, but .* Pass lr_scaling to MultiTaskLitModule",
        ),
    ],
)
def test_what_are_no_tasks_is_refused(tasks, error, message):
    with pytest.raises(error, match=message):
        check_tasks(tasks)


def test_the_same_class_on_two_data_sets_and_two_classes_on_one_are_tasks():
    check_tasks([("md", scalar()), ("bulk", scalar()), ("md", ForceRegressionTask(ToyEncoder()))])


def test_options_are_those_of_adamw():
    check_options({"lr": 1.0, "betas": (0.9, 0.99), "amsgrad": True})
    with pytest.raises(
        ValueError, match=r"unknown arguments \['learning_rate', 'momentum'\], expected options .*'betas'"
    ):
        check_options({"momentum": 0.9, "learning_rate": 1.0})


class Other(ToyEncoder):
    """Of another class, with the same weights."""


def test_an_encoder_that_is_alike_is_replaced_by_the_shared_one():
    first, second = scalar(), scalar()
    share_encoder(second, first.encoder, first)
    assert second.encoder is first.encoder
    share_encoder(second, first.encoder, first)  # nothing to do
    assert second.encoder is first.encoder
    batch = torch.zeros(1, dtype=torch.long)
    assert torch.equal(second.encoder.elements(batch), first.encoder.elements(batch))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (ScalarRegressionTask(ToyEncoder(9)), r"\(ToyEncoder\) differs from that of ScalarRegressionTask"),
        (ScalarRegressionTask(Other()), r"\(Other\) differs from that of"),
        (scalar(freeze_encoder=True), "freeze_encoder must be the same for all tasks"),
    ],
)
def test_encoders_that_differ_are_refused_and_left(task, message):
    first, own = scalar(), task.encoder
    with pytest.raises(ValueError, match=message):
        share_encoder(task, first.encoder, first)
    assert task.encoder is own


def make_map(**keys: Any) -> nn.ModuleDict:
    force = ForceRegressionTask(ToyEncoder())
    return nn.ModuleDict(
        {
            "md": nn.ModuleDict({"ForceRegressionTask": force}),
            "bulk": nn.ModuleDict(
                {
                    "ScalarRegressionTask": scalar(**keys),
                    "ForceRegressionTask": ForceRegressionTask(ToyEncoder()),
                }
            ),
        }
    )


def test_targets_go_to_the_task_that_is_named():
    tasks: Any = make_map()
    set_task_keys(tasks, {"bulk": {"ScalarRegressionTask": ["band_gap"]}, "md": ["energy", "force"]})
    assert tasks["bulk"]["ScalarRegressionTask"].task_keys == ["band_gap"]
    assert list(tasks["bulk"]["ScalarRegressionTask"].output_heads) == ["band_gap"]
    assert tasks["md"]["ForceRegressionTask"].task_keys == ["energy", "force"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"x": ["energy"]}, r"unknown data set 'x', expected one of \['md', 'bulk'\]"),
        (
            {"bulk": ["energy"]},
            r"must be a dict with one of the tasks \['ScalarRegressionTask', 'ForceRegressionTask'\]",
        ),
        ({"md": {"ScalarRegressionTask": ["energy"]}}, "has the unknown task 'ScalarRegressionTask'"),
        (
            {"bulk": {"ScalarRegressionTask": ["a"]}},
            r"created with \['density'\]. Pass the targets only once",
        ),
    ],
)
def test_targets_of_no_task_and_other_targets_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        set_task_keys(make_map(task_keys=["density"]), keys)
