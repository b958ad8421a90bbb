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
def test_weights_are_ordered_or_named(given_weights, left_out):
    by_name = dict(zip(NAMES, given_weights, strict=True))
    assert task_weights(given_weights, NAMES) == task_weights(by_name, NAMES) == by_name
    some = {name: value for name, value in by_name.items() if name not in left_out}
    assert task_weights(some, NAMES) == by_name | dict.fromkeys(left_out, 1.0)
    assert list(task_weights(some, NAMES)) == NAMES


def test_weights_default_to_one():
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
def test_invalid_weights_are_refused(given_weights, message):
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
def test_invalid_tasks_are_refused(tasks, error, message):
    with pytest.raises(error, match=message):
        check_tasks(tasks)


def test_distinct_tasks_are_accepted():
    check_tasks([("md", scalar()), ("bulk", scalar()), ("md", ForceRegressionTask(ToyEncoder()))])


def test_unknown_options_are_refused():
    check_options({"lr": 1.0, "betas": (0.9, 0.99), "amsgrad": True})
    with pytest.raises(
        ValueError, match=r"unknown arguments \['learning_rate', 'momentum'\], expected options .*'betas'"
    ):
        check_options({"momentum": 0.9, "learning_rate": 1.0})


class Other(ToyEncoder):
    """Encoder of another class with the same weights."""


def test_equal_encoder_is_shared():
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
def test_different_encoders_are_refused(task, message):
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


def test_targets_reach_named_task():
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
def test_invalid_targets_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        set_task_keys(make_map(task_keys=["density"]), keys)
