import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.elements import SYMBOLS
from mml_data.store.references import ReferenceFit


def compositions(rng, count, elements):
    composition = np.zeros((count, len(SYMBOLS)), dtype=int)
    composition[:, elements] = rng.integers(0, 5, (count, len(elements)))
    composition[:, elements[0]] += 1
    return composition


@given(st.integers(0, 10**6), st.integers(5, 40), st.integers(1, 5))
def test_it_is_the_least_squares_solution_of_numpy(seed, count, n_elements):
    rng = np.random.default_rng(seed)
    elements = rng.choice(np.arange(1, 119), n_elements, replace=False)
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


def test_what_compositions_determine_is_found_exactly():
    rng = np.random.default_rng(0)
    composition = compositions(rng, 50, [1, 8, 26])
    result = ReferenceFit()
    result.add(composition, composition[:, [1, 8, 26]] @ np.array([-1.0, -5.0, -8.0]))
    found = result.result()
    assert found["reference_energies"] == pytest.approx({"H": -1.0, "O": -5.0, "Fe": -8.0})
    assert (found["reference_rank"], found["per_atom_residual_std"]) == (3, 0.0)


def test_one_composition_gives_the_solution_of_smallest_norm():
    fit = ReferenceFit()
    composition = np.zeros((4, len(SYMBOLS)), dtype=int)
    composition[:, 1], composition[:, 8] = 2, 1
    fit.add(composition, np.full(4, -10.0))
    assert fit.result()["reference_energies"] == pytest.approx({"H": -4.0, "O": -2.0})
    assert fit.result()["reference_rank"] == 1
