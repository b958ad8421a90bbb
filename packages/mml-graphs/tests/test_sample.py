import math

import numpy as np
import pytest
import torch
from mml_graphs.sample import read_structure
from pymatgen.core import Lattice, Structure

GOOD = {"atomic_numbers": [6, 8], "pos": [[0.0, 0, 0], [1, 1, 1]], "cell": (np.eye(3) * 4).tolist()}
LATTICE = Lattice([[3, 0, 0], [0.5, 4, 0], [0, 1, -5]], pbc=(True, True, False))
STRUCTURE = Structure(LATTICE, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 1.5]])


def same(one, other):
    assert one.pbc == other.pbc
    for a, b in zip(one[:3], other[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("convert", [np.array, torch.tensor, lambda value: value])
def test_lists_equal_arrays_and_tensors(convert):
    same(read_structure({key: convert(value) for key, value in GOOD.items()}), read_structure(GOOD))


def test_pymatgen_structure_equals_its_parts():
    parts = {
        "atomic_numbers": [11, 17],
        "pos": STRUCTURE.cart_coords,
        "cell": LATTICE.matrix[None],
        "pbc": [True, True, False],
    }
    same(read_structure({"structure": STRUCTURE}), read_structure(parts))
    same(
        read_structure({**parts, "structure": Structure(LATTICE, ["H"], [[0, 0, 0]])}), read_structure(parts)
    )


@pytest.mark.parametrize("key", ["lattice_params", "lattice_features"])
def test_lattice_parameters_define_the_cell(key):
    parameters = [3.0, 4.0, 5.0, *np.radians([80, 95, 100])]
    sample = {"atomic_numbers": [6], "pos": [[1.0, 2, 3]], key: parameters}
    lattice = Lattice.from_parameters(3, 4, 5, 80, 95, 100)
    same(
        read_structure(sample),
        read_structure({"structure": Structure(lattice, ["C"], [[1, 2, 3]], coords_are_cartesian=True)}),
    )


def test_fractional_positions_need_the_option():
    cell = np.array([[3, 0, 0], [1, 4, 0], [0, 0, 5.0]])
    fractions = np.array([[0.5, 0.25, 0.1]])
    base = {"atomic_numbers": [6], "cell": cell}
    same(
        read_structure({**base, "frac_coords": fractions}),
        read_structure({**base, "pos": fractions}, is_cartesian=False),
    )
    np.testing.assert_allclose(read_structure({**base, "frac_coords": fractions}).positions, fractions @ cell)
    for said in (None, True):
        np.testing.assert_array_equal(read_structure({**base, "pos": fractions}, said).positions, fractions)


def test_cell_implies_periodicity():
    assert read_structure(GOOD).pbc == (True, True, True)
    assert read_structure({key: GOOD[key] for key in ("atomic_numbers", "pos")}).pbc == (False, False, False)
    assert read_structure({**GOOD, "pbc": torch.tensor([[True, False, True]])}).pbc == (True, False, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atomic_numbers": []}, r"'atomic_numbers' has shape \[0\], expected \[N\] with at least one atom"),
        ({"atomic_numbers": [6, 119]}, "'atomic_numbers' of atom 1 is 119, expected 1 to 118"),
        ({"atomic_numbers": [0, 6]}, "'atomic_numbers' of atom 0 is 0"),
        ({"atomic_numbers": [6.0, 8.0]}, "'atomic_numbers' has dtype float64, expected integers"),
        ({"atomic_numbers": [[6, 8]]}, r"'atomic_numbers' has shape \[1, 2\]"),
        ({"atomic_numbers": [6]}, r"'pos' has shape \[2, 3\], expected \[1, 3\] for 1 'atomic_numbers'"),
        (
            {"pos": [[0.0, 0, 0], [1, math.nan, 1]]},
            r"'pos' contains values that are not finite: \[1.0, nan, 1.0\] in row 1",
        ),
        ({"pos": [[0.0, 0, 0], [1, -math.inf, 1]]}, "'pos' contains values that are not finite"),
        ({"pos": [[0.0, 0, 0], [1, 1]]}, "'pos' is not an array of numbers"),
        ({"pos": [["a"] * 3] * 2}, "'pos' has dtype <U1, expected numbers"),
        ({"cell": np.full((1, 3, 3), math.nan)}, "'cell' contains values that are not finite"),
        ({"cell": [3.0, 3.0, 3.0]}, r"'cell' has shape \[3\], expected \[1, 3, 3\] or \[3, 3\]"),
        ({"pbc": [True, True]}, "'pbc' has 2 values, expected 3"),
    ],
)
def test_bad_values_raise(change, message):
    with pytest.raises(ValueError, match=message):
        read_structure({**GOOD, **change})


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"pos": [[0.0, 0, 0]]}, "'atomic_numbers' is missing"),
        ({"atomic_numbers": [6]}, "'pos' is missing. Add Cartesian positions"),
        (
            {"atomic_numbers": [6], "frac_coords": [[0.0, 0, 0]]},
            "'frac_coords' is fractional, but 'cell' is missing",
        ),
        (
            {"atomic_numbers": [6], "pos": [[0.0, 0, 0]], "lattice_params": [3, 3, 3]},
            r"'lattice_params' has shape \[3\]",
        ),
        (
            {"atomic_numbers": [6], "pos": [[0.0, 0, 0]], "lattice_params": [3, 3, 3, 90, 90, 90]},
            "'lattice_params': .* to radians",
        ),
        (
            {"structure": Structure(Lattice.cubic(3), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])},
            "'structure' has sites that do not consist of a single element",
        ),
    ],
)
def test_missing_keys_raise(sample, message):
    with pytest.raises(ValueError, match=message):
        read_structure(sample)
