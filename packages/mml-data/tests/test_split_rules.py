import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.split_rules import SplitRules, grouped_split

THREE = {"train": 0.8, "val": 0.1, "test": 0.1}
GROUPS = st.lists(st.integers(0, 12), min_size=10, max_size=120)


def check_partition(splits, groups):
    """Splits are disjoint, sorted, together contain every sample, and no group is in two of them."""
    everything = np.concatenate(list(splits.values()))
    assert sorted(everything.tolist()) == list(range(len(groups)))
    for indices in splits.values():
        assert indices.dtype == np.int64
        assert indices.size > 0
        assert (np.diff(indices) > 0).all()
    of = {}
    for name, indices in splits.items():
        for index in indices:
            assert of.setdefault(groups[index], name) == name


@given(GROUPS, st.integers(0, 99), st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.0, 0.5), (0.0, 0.3, 0.7)]))
def test_groups_stay_together(groups, seed, shares):
    rules = SplitRules(dict(zip(THREE, shares, strict=True)), seed)
    names = [str(group) for group in groups]
    if len(set(names)) < len(rules.names):
        with pytest.raises(ValueError, match="splits require at least"):
            rules.draw(len(names), names)
        return
    splits = rules.draw(len(names), names)
    assert tuple(splits) == rules.names
    check_partition(splits, groups)
    again = rules.draw(len(names), names)
    assert all(np.array_equal(splits[name], again[name]) for name in splits)


def best_deviation(sizes, wanted):
    """Return the smallest possible largest deviation, by trying every assignment."""
    best = np.inf
    for number in range(len(wanted) ** len(sizes)):
        placed, used = np.zeros(len(wanted)), set()
        for size in sizes:
            number, split = divmod(number, len(wanted))
            placed[split] += size
            used.add(split)
        if len(used) == len(wanted):
            best = min(best, np.abs(wanted - placed).max())
    return best


@given(st.lists(st.integers(1, 30), min_size=3, max_size=6), st.integers(0, 20))
def test_deviation_is_near_optimal(sizes, seed):
    groups = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    splits = grouped_split(groups, THREE, seed)
    wanted = np.array(list(THREE.values())) * len(groups)
    found = max(abs(len(part) - want) for part, want in zip(splits.values(), wanted, strict=True))
    assert found <= best_deviation(sizes, wanted) + max(sizes) / 2


@given(st.integers(4, 7), GROUPS, st.integers(0, 99), st.booleans())
def test_folds_test_each_sample_once(folds, groups, seed, grouped):
    names = [str(group) for group in groups] if grouped else None
    if grouped and len(set(names)) < folds:
        with pytest.raises(ValueError, match=f"{folds} splits require at least {folds} groups"):
            SplitRules(THREE, seed, folds).draw(len(groups), names)
        return
    tested, validated = [], []
    for fold in range(folds):
        splits = SplitRules(THREE, seed, folds, fold).draw(len(groups), names)
        check_partition(splits, groups if grouped else range(len(groups)))
        tested += splits["test"].tolist()
        validated += splits["val"].tolist()
    assert sorted(tested) == sorted(validated) == list(range(len(groups)))


def test_groups_of_one_are_drawn_as_samples():
    names = [f"file-{number}.cif" for number in range(50)]
    rules = SplitRules(THREE, 4)
    for name, part in rules.draw(50).items():
        np.testing.assert_array_equal(rules.draw(50, names)[name], part)


def test_single_split_has_all_samples():
    splits = SplitRules({"train": 0.0, "val": 0.0, "test": 1.0}).draw(3, ["a", "a", "a"])
    assert {name: part.tolist() for name, part in splits.items()} == {"test": [0, 1, 2]}


def test_large_group_is_reported(caplog):
    grouped_split(["a"] * 10 + ["b"] * 10, {"train": 0.9, "val": 0.1}, 0)
    assert caplog.messages == [
        "the splits have 50 % (train), 50 % (val) of the samples instead of 90 % (train), 10 % (val), "
        "because samples of one group stay together"
    ]
    caplog.clear()
    grouped_split([str(number % 50) for number in range(500)], THREE, 0)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": {"train": 0.5, "val": 0.4}}, "must be from 0 to 1 and sum to 1, got {'train': 0.5"),
        ({"shares": {"train": 1.2, "val": -0.2}}, "must be from 0 to 1 and sum to 1"),
        ({"shares": {}}, "must be from 0 to 1 and sum to 1, got {}"),
        ({"shares": THREE, "fold": 2}, "fold 2 requires the number of folds"),
        ({"shares": THREE, "folds": 2}, "folds must be at least 3, .* got 2"),
        ({"shares": THREE, "folds": 5, "fold": 5}, "fold must be from 0 to 4, got 5"),
    ],
)
def test_invalid_rules_raise(options, message):
    with pytest.raises(ValueError, match=message):
        SplitRules(**options)


def test_few_samples_raise():
    with pytest.raises(ValueError, match="4 samples are too few for 5 folds"):
        SplitRules(THREE, 0, 5).draw(4)
    with pytest.raises(ValueError, match="split 'val' would be empty, because 3 samples"):
        SplitRules(THREE).draw(3)
