import numpy as np
import pytest
from mml_data.physics.frame import to_frame
from mml_data.physics.potential import _features, fit_forces


def frame(seed, count=10, strain=None, shift=None, forces=None, pbc=True):
    random = np.random.default_rng(seed)
    cell = np.diag([6.0, 6.5, 7.0]) + random.uniform(-0.4, 0.4, (3, 3))
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) / 3
    pos = (random.permutation(grid)[:count]) @ cell + random.normal(scale=0.15, size=(count, 3))
    if shift is not None:
        pos = pos + shift
    if strain is not None:
        pos, cell = pos @ (np.eye(3) + strain), cell @ (np.eye(3) + strain)
    numbers = np.where(np.arange(count) % 3 == 0, 8, 13)
    targets = {"energy": 0.0, "force": np.zeros((count, 3)) if forces is None else forces}
    return to_frame(
        seed,
        {"atomic_numbers": numbers, "pos": pos, "cell": cell, "pbc": [pbc] * 3, "targets": targets},
    )


@pytest.mark.parametrize("pbc", [True, False])
def test_forces_and_virials_are_derivatives_of_energies(pbc):
    elements, step = np.array([8, 13]), 1e-5
    _, forces, virials = _features(frame(0, pbc=pbc), elements)
    shift = np.zeros((10, 3))
    shift[4, 1] = step
    up, down = (_features(frame(0, shift=sign * shift, pbc=pbc), elements)[0] for sign in (1, -1))
    np.testing.assert_allclose(forces[3 * 4 + 1], -(up - down) / (2 * step), rtol=1e-5, atol=1e-7)
    strain = np.zeros((3, 3))
    strain[0, 2] = strain[2, 0] = step / 2
    up, down = (_features(frame(0, strain=sign * strain, pbc=pbc), elements)[0] for sign in (1, -1))
    shear = (virials[0, 2] + virials[2, 0]) / 2
    np.testing.assert_allclose(shear, (up - down) / (2 * step), rtol=1e-4, atol=1e-6)


def test_fit_finds_potential_of_same_form():
    random = np.random.default_rng(3)
    elements = np.array([8, 13])
    coefficients = random.normal(size=_features(frame(0), elements)[0].size) * 0.05
    frames = []
    for seed in range(60):
        forces = (_features(frame(seed), elements)[1] @ coefficients).reshape(-1, 3)
        frames.append(frame(seed, forces=forces))
    fit = fit_forces(frames)
    assert fit.explained > 0.99
    energies = np.array([_features(each, elements)[0] @ coefficients for each in frames])
    assert np.corrcoef(fit.energies, energies)[0, 1] > 0.99
    virial = _features(frames[5], elements)[2] @ coefficients
    np.testing.assert_allclose(fit.stresses[5][0, 1], virial[0, 1] / frames[5].volume, atol=2e-3)


def test_too_few_frames_give_no_fit():
    assert fit_forces([frame(seed) for seed in range(3)]) is None
