import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_data.importers.check_block import check_block
from mml_data.importers.labels import LabelPlan
from mml_data.importers.structure import to_sample

FAULTS = {
    "none": {},
    "element 0": {"atomic_numbers": np.array([0, 8])},
    "element 200": {"atomic_numbers": np.array([200, 8])},
    "too few atoms": {"atomic_numbers": np.array([8])},
    "no atoms": {"atomic_numbers": np.zeros(0, int), "positions": np.zeros((0, 3))},
    "NaN position": {"positions": np.array([[np.nan, 0, 0], [2.0, 0, 0]])},
    "infinite cell": {"cell": np.diag([np.inf, 5, 5])},
    "flat cell": {"cell": np.array([[3.0, 0, 0], [0, 3, 0], [3, 3, 0]])},
    "flat slab": {"cell": np.diag([5.0, 5, 0]), "pbc": np.array([True, True, False])},
    "molecule": {"cell": None, "pbc": np.zeros(3, bool)},
    "close atoms": {"positions": np.array([[0.0, 0, 0], [4.9, 0, 0]])},
    "infinite energy": {"labels": {"energy": np.inf}},
    "infinite force": {"targets": {"force": np.array([[np.inf, 0, 0], [0, 0, 0]])}},
    "NaN force": {"targets": {"force": np.full((2, 3), np.nan)}},
    "two kinds": {"targets": {"force": np.ones((2, 3)), "x": [1.0, 2.0, 3.0]}},
}
VALID = {"none", "flat slab", "molecule", "NaN force", "two kinds"}


def structure(**changes):
    oxygen = {
        "atomic_numbers": np.array([8, 8]),
        "positions": np.array([[0.0, 0, 0], [2.0, 0, 0]]),
        "cell": np.eye(3) * 5,
        "pbc": np.ones(3, bool),
        "labels": {"energy": 1.0},
        "targets": {"x": 1.0},
    }
    return {**oxygen, **changes}


def is_valid(item):
    try:
        to_sample(item, LabelPlan())
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", FAULTS)
def test_single_check_finds_fault(name):
    assert is_valid(structure(**FAULTS[name])) == (name in VALID)


@settings(max_examples=60)
@given(st.lists(st.sampled_from([*FAULTS, "none", "none", "none"]), min_size=1, max_size=6))
def test_block_is_valid_if_every_structure_is(names):
    items = [structure(**FAULTS[name]) for name in names]
    try:
        samples = [to_sample(item, LabelPlan(), check=False)[0] for item in items]
    except ValueError:
        return
    assert check_block(samples, allow_close=False) == all(is_valid(item) for item in items)


def test_close_atoms_are_allowed_on_request():
    samples = [to_sample(structure(**FAULTS["close atoms"]), LabelPlan(), check=False)[0]]
    assert check_block(samples, allow_close=True)
    assert samples[0]["atomic_numbers"].dtype == np.uint8
