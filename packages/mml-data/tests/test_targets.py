import numpy as np
import pytest
from mml_data.convert.targets import TargetKinds, target_kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, None),
        (True, "a label"),
        (1, "a number"),
        (0.5, "a number"),
        ([1, 2], "a list of numbers"),
        ([[0.5], [1]], "a list of numbers"),
        ([True, False], "a list of labels"),
    ],
)
def test_kinds(value, kind):
    assert target_kind(value) == kind


@pytest.mark.parametrize("value", ["0.5", {}, [[1], [1, 2]], ["a"], [None, 1.0], [10**30]])
def test_what_is_no_target(value):
    with pytest.raises(ValueError, match="is neither a number"):
        target_kind(value)


def test_values_are_converted_and_types_follow():
    kinds = TargetKinds(
        {"gap": "a number", "metal": "a label", "site": "a list of labels", "force": "a list of numbers"},
        allow_missing=False,
    )
    converted = kinds.convert({"force": [[1, 2, 3]], "site": [True, False], "metal": False, "gap": 2})
    assert list(converted) == ["gap", "metal", "site", "force"]
    assert (type(converted["gap"]), converted["gap"]) == (float, 2.0)
    assert (type(converted["metal"]), converted["metal"]) == (int, 0)
    assert converted["site"].dtype == np.int64
    assert converted["site"].tolist() == [1, 0]
    assert converted["force"].dtype == np.float64
    assert kinds.target_types == {"regression": ["gap", "force"], "classification": ["metal", "site"]}


def test_missing_values_are_counted():
    kinds = TargetKinds({"gap": "a number", "metal": "a label"}, allow_missing=True)
    for gap, metal in ((None, True), (float("nan"), None), (1.0, False)):
        kinds.convert({"gap": gap, "metal": metal})
    assert kinds.missing == {"gap": 2, "metal": 1}
