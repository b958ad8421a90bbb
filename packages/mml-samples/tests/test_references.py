import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_samples import SYMBOLS, ReferenceFit, count_elements


def compositions(rng, count, elements):
    composition = np.zeros((count, len(SYMBOLS)), dtype=int)
    composition[:, elements] = rng.integers(0, 5, (count, len(elements)))
    composition[:, elements[0]] += 1
    return composition


@given(st.integers(0, 10**6), st.integers(5, 40), st.integers(1, 5))
def test_merged_fits_equal_numpy_lstsq(seed, count, num_elements):
    rng = np.random.default_rng(seed)
    elements = rng.choice(np.arange(1, 119), num_elements, replace=False)
    composition = compositions(rng, count, elements)
    energy = rng.normal(size=count) * 10
    fit, other = ReferenceFit(), ReferenceFit()
    fit.add(composition[:3], energy[:3])
    other.add(composition[3:], energy[3:])
    fit.merge(other)
    result = fit.result()
    seen = np.flatnonzero(composition.any(axis=0))
    wanted, _, rank, _ = np.linalg.lstsq(composition[:, seen].astype(float), energy, rcond=1e-6)
    assert list(result["reference_energies"]) == [SYMBOLS[number] for number in seen]
    np.testing.assert_allclose(list(result["reference_energies"].values()), wanted, rtol=1e-6, atol=1e-6)
    assert result["reference_rank"] == rank
    left = (energy - composition[:, seen] @ wanted) / composition.sum(axis=1)
    assert result["per_atom_residual_std"] == pytest.approx(np.sqrt((left**2).mean()), rel=1e-5, abs=1e-5)


def test_determined_energies_are_exact():
    rng = np.random.default_rng(0)
    composition = compositions(rng, 50, [1, 8, 26])
    result = ReferenceFit()
    result.add(composition, composition[:, [1, 8, 26]] @ np.array([-1.0, -5.0, -8.0]))
    found = result.result()
    assert found["reference_energies"] == pytest.approx({"H": -1.0, "O": -5.0, "Fe": -8.0})
    assert (found["reference_rank"], found["per_atom_residual_std"]) == (3, 0.0)


def test_one_composition_gives_smallest_norm():
    fit = ReferenceFit()
    composition = np.zeros((4, len(SYMBOLS)), dtype=int)
    composition[:, 1], composition[:, 8] = 2, 1
    fit.add(composition, np.full(4, -10.0))
    assert fit.result()["reference_energies"] == pytest.approx({"H": -4.0, "O": -2.0})
    assert fit.result()["reference_rank"] == 1


def test_all_electron_energies_keep_a_small_spread():
    rng = np.random.default_rng(0)
    composition = compositions(rng, 200, [8, 79])
    noise = rng.normal(scale=1e-3, size=200) * composition.sum(axis=1)
    fit = ReferenceFit()
    for start in range(0, 200, 50):
        part = slice(start, start + 50)
        fit.add(composition[part], composition[part, 8] * -2e3 + composition[part, 79] * -5e5 + noise[part])
    assert fit.result()["per_atom_residual_std"] == pytest.approx(1e-3, rel=0.1)


def test_count_elements_counts_each_structure():
    counts = count_elements([1, 1, 8, 26, 8], [3, 0, 2])
    assert counts.shape == (3, 119)
    assert [dict(zip(*np.unique(row.nonzero()[0], return_counts=True), strict=True)) for row in counts] == [
        {1: 1, 8: 1},
        {},
        {8: 1, 26: 1},
    ]
    assert (counts[0, 1], counts[0, 8], counts.sum()) == (2, 1, 5)


@pytest.mark.parametrize("number", [0, 119, -1])
def test_unknown_elements_raise(number):
    with pytest.raises(
        ValueError, match=rf"from 1 to 118, got numbers from {min(number, 6)} to {max(number, 6)}"
    ):
        count_elements([6, number], [2])
