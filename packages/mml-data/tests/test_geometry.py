import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_data.physics.frame import to_frame
from mml_data.physics.geometry import displacement, embedding, heights, nearest, wrapped


def structure(seed, count, skew=0.4):
    random = np.random.default_rng(seed)
    cell = np.diag(random.uniform(2, 6, 3)) + random.uniform(-skew, skew, (3, 3))
    return random.normal(scale=4, size=(count, 3)), cell, random.random(3) < 0.7


def brute_force(pos, cell, pbc):
    images = np.stack(np.meshgrid(*(np.arange(-6, 7) if flag else [0] for flag in pbc), indexing="ij"), -1)
    fractions = pos @ np.linalg.inv(cell)
    pos = (fractions - np.floor(fractions) * pbc) @ cell
    shifts = images.reshape(-1, 3) @ cell
    vectors = pos[None, :, None] + shifts - pos[:, None, None]
    lengths = np.linalg.norm(vectors, axis=-1)
    lengths[lengths < 1e-9] = np.inf
    return lengths.min(axis=(1, 2))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_nearest_equals_brute_force(seed, count):
    pos, cell, pbc = structure(seed, count)
    distances, others = nearest(pos, cell, pbc)
    np.testing.assert_allclose(distances, brute_force(pos, cell, pbc), rtol=1e-9)
    assert others.min() >= 0
    assert others.max() < count


def test_nearest_without_cell():
    distances, others = nearest(np.array([[0.0, 0, 0], [0, 0, 1], [0, 0, 3]]), None, np.zeros(3, bool))
    assert distances.tolist() == [1, 1, 2]
    assert others.tolist() == [1, 0, 1]
    assert np.isinf(nearest(np.zeros((1, 3)), None, np.zeros(3, bool))[0]).all()


@pytest.mark.parametrize("seed", range(5))
def test_displacement_ignores_translation_and_wrapping(seed):
    pos, cell, _ = structure(seed, 8, skew=0.2)
    random = np.random.default_rng(seed)
    moved = random.normal(scale=0.05, size=pos.shape)
    moved -= moved.mean(axis=0)
    cells = random.integers(-2, 3, pos.shape) @ cell
    frames = [
        to_frame(index, {"atomic_numbers": np.ones(8), "pos": each, "cell": cell, "pbc": [True] * 3})
        for index, each in enumerate((pos, pos + moved + cells))
    ]
    found, gradient = displacement(*frames)
    np.testing.assert_allclose(found, moved, atol=1e-9)
    assert np.abs(gradient).max() < 1e-12
    # The embedding does not depend on the cells in which the atoms are.
    again = to_frame(0, {"atomic_numbers": np.ones(8), "pos": pos + moved, "cell": cell, "pbc": [True] * 3})
    np.testing.assert_allclose(embedding(frames[1]), embedding(again), atol=1e-9)


def test_displacement_separates_strain():
    pos, cell, _ = structure(0, 6)
    strain = np.array([[0.01, 0.004, 0], [0.004, -0.02, 0], [0, 0, 0.005]])
    first, second = (
        to_frame(
            0, {"atomic_numbers": np.ones(6), "pos": pos @ change, "cell": cell @ change, "pbc": [True] * 3}
        )
        for change in (np.eye(3), np.eye(3) + strain)
    )
    moved, gradient = displacement(first, second)
    assert np.abs(moved).max() < 1e-9
    np.testing.assert_allclose(gradient, strain, atol=3e-4)


def test_heights_and_wrapped():
    cell = np.array([[2.0, 0, 0], [1, 2, 0], [0, 0, 5]])
    np.testing.assert_allclose(heights(cell)[1:], [2, 5])
    fractions = wrapped(np.array([[-1.0, 0, 12]]), cell, np.array([True, True, False]))
    np.testing.assert_allclose(fractions, [[0.5, 0, 2.4]])
