import numpy as np
import pytest
from mml_data.importers.targets import Label, TargetKind, TargetKinds, find_kinds, target_kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, None),
        (True, TargetKind("a label")),
        (np.bool_(False), TargetKind("a label")),
        (Label(7), TargetKind("a label")),
        (1, TargetKind("a number")),
        (np.float32(0.5), TargetKind("a number")),
        ([1, 2], TargetKind("a list of numbers")),
        ([[0.5], [1]], TargetKind("a list of numbers", None, (1,))),
        (np.zeros((3, 2)), TargetKind("a list of numbers", 3, (2,))),
        (np.zeros((3, 3)), TargetKind("a list of numbers", 3, (3,))),
        ([True, False], TargetKind("a list of labels")),
    ],
)
def test_values_have_kinds(value, kind):
    assert target_kind(value, num_atoms=2) == kind


@pytest.mark.parametrize("value", ["0.5", {}, [[1], [1, 2]], ["a"], [None, 1.0], [10**30], np.array(None)])
def test_invalid_target_raises(value):
    with pytest.raises(ValueError, match="must be a number"):
        target_kind(value)


def kinds(**values):
    return {name: target_kind(value, num_atoms=2) for name, value in values.items()}


def test_convert_sets_dtypes_and_types():
    all_kinds = TargetKinds(kinds(gap=1.0, metal=True, site=[True, True], force=[[0.0] * 3] * 2))
    converted = all_kinds.convert({"force": [[1, 2, 3]], "site": [True, False], "metal": False, "gap": 2}, 1)
    assert list(converted) == ["gap", "metal", "site", "force"]
    assert (type(converted["gap"]), converted["gap"]) == (float, 2.0)
    assert (type(converted["metal"]), converted["metal"]) == (int, 0)
    assert converted["site"].dtype == np.int64
    assert converted["site"].tolist() == [1, 0]
    assert converted["force"].dtype == np.float64
    assert all_kinds.target_types == {"regression": ["gap", "force"], "classification": ["metal", "site"]}
    assert (
        all_kinds.convert({**converted, "force": np.ones((1, 3), "f4"), "metal": True, "site": [True]}, 1)[
            "force"
        ].dtype
        == np.float32
    )


def test_missing_target_becomes_nan():
    some = TargetKinds(kinds(gap=1.0, metal=True, force=[[0.0] * 3] * 2, stress=np.eye(3)), may_lack=True)
    converted = some.convert({"gap": float("nan")}, 5)
    assert np.isnan(converted["gap"])
    assert np.isnan(converted["metal"])
    assert converted["force"].shape == (5, 3)
    assert converted["stress"].shape == (1, 3, 3)
    assert np.isnan(converted["force"]).all()
    with pytest.raises(ValueError, match="target 'site' is null, but a list of labels cannot be missing"):
        TargetKinds(kinds(site=[True, True]), may_lack=True).convert({}, 2)


def test_unknown_target_raises_or_is_ignored():
    with pytest.raises(
        ValueError, match=r"target 'b' is not a target of the first structure; add it there .*--targets"
    ):
        TargetKinds(kinds(a=1.0)).convert({"a": 1.0, "b": 2.0}, 1)
    assert TargetKinds(kinds(a=1.0), others=True).convert({"a": 1.0, "b": 2.0}, 1) == {"a": 1.0}


def test_remedy_fits_options():
    """The remedy does not suggest naming targets if the user has named the target."""
    with pytest.raises(
        ValueError, match=r"the first structure has it; write null .* name only other targets"
    ):
        TargetKinds(kinds(a=1.0, b=1.0)).convert({"a": 1.0}, 1)
    with pytest.raises(
        ValueError, match=r"one of the targets to import; write null .* remove it from targets"
    ):
        TargetKinds(kinds(a=1.0, b=1.0), others=True).convert({"a": 1.0}, 1)


def test_find_kinds_reads_until_known():
    structures = [
        ("x:1", ValueError("bad")),
        ("x:2", {"atomic_numbers": [1], "targets": {"a": None, "b": 1.0}}),
        ("x:3", {"atomic_numbers": [1], "targets": {"a": True, "c": 1.0}}),
    ]
    assert find_kinds(structures, origin="x") == kinds(a=True, b=1.0)
    assert find_kinds(structures, ["c"], origin="x") == kinds(c=1.0)
    assert find_kinds(structures, ["c", "d"], origin="x", optional=True) == kinds(c=1.0)
    with pytest.raises(ValueError, match="target 'd' is null in every structure of 'x'"):
        find_kinds(structures, ["d"], origin="x")
    with pytest.raises(ValueError, match="x:1: bad"):
        find_kinds(structures[:1], origin="x")
    with pytest.raises(ValueError, match="x:2: 'targets' must be an object, got list"):
        find_kinds([("x:2", {"targets": [1]})], origin="x")


def test_float32_stress_becomes_float64():
    values = {"stress": np.eye(3, dtype=np.float32), "force": np.ones((2, 3), np.float32)}
    kinds = TargetKinds({name: target_kind(value, 2) for name, value in values.items()})
    stored = kinds.convert(values, 2)
    assert (stored["stress"].dtype, stored["force"].dtype) == (np.float64, np.float32)
