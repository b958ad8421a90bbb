import numpy as np
import pytest
import torch
from mml_samples import check_sample

WATER = {"atomic_numbers": np.array([1, 8]), "pos": np.zeros((2, 3)), "sample_id": "w"}
EDGES = {"src_nodes": np.array([0, 1, 1]), "dst_nodes": np.array([1, 0, 1])}


class Structure(list):
    """Object with a length, like a pymatgen structure."""


@pytest.mark.parametrize(
    "sample",
    [
        WATER,
        {key: torch.from_numpy(WATER[key]) for key in ("atomic_numbers", "pos")},
        {"atomic_numbers": [1, 8], "pos": [[0.0, 0, 0], [0, 0, 1]]},
        {"structure": Structure([1, 8])},
        {"atomic_numbers": [1, 8], "frac_coords": np.zeros((2, 3)), "cell": np.eye(3)},
        {**WATER, "cell": np.eye(3)[None], "pbc": np.ones(3, bool), "lattice_params": np.ones(6)},
        {**WATER, "tags": np.zeros(2, int), "fixed": np.zeros(2, bool), "anything": "else"},
        {**WATER, **EDGES, "offsets": np.zeros((3, 3)), "distances": torch.ones(3)},
        {**WATER, "src_nodes": np.zeros(0, int), "dst_nodes": np.zeros(0, int), "images": np.zeros((0, 3))},
    ],
)
def test_valid_sample_returns_num_atoms(sample):
    assert check_sample(sample) == 2


@pytest.mark.parametrize("value", [1, np.nan, np.zeros((2, 5)), torch.zeros(1, 3, 3), True, np.float32(2)])
def test_numbers_and_arrays_are_valid_targets(value):
    assert check_sample({**WATER, "targets": {"energy": value}}) == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"atomic_numbers": np.array([1.0, 8.0])},
            ValueError,
            r"^atomic_numbers of sample 'w' must be integers .* float64 of shape \[2\]",
        ),
        ({"atomic_numbers": np.array([], int)}, ValueError, r"at least one atom, got int64 of shape \[0\]"),
        ({"atomic_numbers": np.array([0, 1])}, ValueError, "from 1 to 118, got 0 for atom 0"),
        ({"atomic_numbers": np.array([1, 119])}, ValueError, "from 1 to 118, got 119 for atom 1"),
        (
            {"atomic_numbers": "HO"},
            TypeError,
            "atomic_numbers of sample 'w' must be an array of numbers, got a str",
        ),
        (
            {"pos": np.zeros((3, 3))},
            ValueError,
            r"^pos of sample 'w' has shape \[3, 3\], expected \[2, 3\] for 2 atoms$",
        ),
        (
            {"pos": np.array([["a"] * 3] * 2)},
            TypeError,
            "pos of sample 'w' must be an array of numbers, got an array of <U1",
        ),
        ({"pos": [[0.0, 0, 0], [1, 1]]}, TypeError, "must be an array of numbers, got a list"),
        (
            {"pos": np.array([[0, 0, 0], [0, np.nan, 0]])},
            ValueError,
            r"pos of sample 'w' must be finite, got nan at index \[1, 1\]",
        ),
        ({"pos": np.full((2, 3), np.inf)}, ValueError, "must be finite, got inf"),
        ({"cell": np.full((3, 3), np.nan)}, ValueError, "cell of sample 'w' must be finite"),
        (
            {"cell": np.zeros(9)},
            ValueError,
            r"cell of sample 'w' has shape \[9\], expected \[1, 3, 3\] or \[3, 3\]$",
        ),
        ({"pbc": np.ones(2, bool)}, ValueError, r"pbc of sample 'w' has shape \[2\], expected \[3\]"),
        (
            {"lattice_params": np.ones((2, 6))},
            ValueError,
            r"lattice_params .* has shape \[2, 6\], expected \[6\]",
        ),
        ({"tags": np.zeros(3)}, ValueError, r"tags of sample 'w' has shape \[3\], expected \[2\]"),
        ({"src_nodes": np.array([2])}, ValueError, "src_nodes .* from 0 to 1 for 2 atoms, got 2 for edge 0"),
        (
            {**EDGES, "dst_nodes": np.zeros(2, int)},
            ValueError,
            r"dst_nodes .* has shape \[2\], expected \[3\] for 3 edges",
        ),
        (
            {**EDGES, "src_nodes": np.array([0, 2, 1])},
            ValueError,
            "src_nodes .* from 0 to 1 for 2 atoms, got 2 for edge 1",
        ),
        (
            {**EDGES, "src_nodes": np.zeros(3)},
            TypeError,
            "src_nodes of sample 'w' must be integers, got float64",
        ),
        (
            {**EDGES, "offsets": np.zeros(3)},
            ValueError,
            r"offsets of sample 'w' has shape \[3\], expected \[3, 3\]",
        ),
        ({"targets": [1.0]}, TypeError, "targets of sample 'w' must be a dict of name to value, got a list"),
        ({"targets": {"e": None}}, TypeError, r"targets\.e of sample 'w' is a NoneType, .* remove it"),
        ({"targets": {"e": [1.0]}}, TypeError, r"targets\.e of sample 'w' is a list"),
        ({"targets": {"e": np.inf}}, ValueError, r"targets\.e of sample 'w' is infinite\. Fix the label"),
        (
            {"targets": {"f": np.zeros((3, 3))}},
            ValueError,
            r"has shape \[3, 3\], expected 1 row .* or 2 for its atoms",
        ),
    ],
)
def test_invalid_value_raises(change, error, message):
    with pytest.raises(error, match=message):
        check_sample({**WATER, **change})


def test_missing_key_raises():
    with pytest.raises(ValueError, match=r"^the sample has no 'pos', its keys are \['atomic_numbers'\]"):
        check_sample({"atomic_numbers": np.array([1])})
    with pytest.raises(ValueError, match=r"^sample 'x' has no 'atomic_numbers', its keys are"):
        check_sample({"pos": np.zeros((1, 3)), "sample_id": "x"})
    with pytest.raises(TypeError, match="A sample must be a dict, got a list"):
        check_sample([1])
    with pytest.raises(
        TypeError, match="structure of sample 'x' must be a pymatgen Structure or an ASE Atoms, got a int"
    ):
        check_sample({"structure": 1, "sample_id": "x"})
