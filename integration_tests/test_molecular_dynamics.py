"""Simulations with a task as ASE calculator give the same results with and without a kept neighbor list."""

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask


def make_calculator(skin, **options):
    torch.manual_seed(0)
    numbers = {"energy_per_atom_mean": -1.5, "force_std": 1.0}
    task = ForceRegressionTask(
        SchNet(hidden_dim=8, output_dim=8, num_conv=1, cutoff=4.0),
        normalize_kwargs=numbers,
        compute_stress=True,
    ).double()
    neighbors = PeriodicPropertiesTransform(4.0, on_isolated="allow", **options)
    return task.as_ase_calculator([neighbors, PointCloudToGraphTransform("pyg")], skin=skin)


def record(atoms, skin, dynamics, steps=24, **options):
    """Run a simulation, and return positions, cells, energies and forces of each step, and the searches."""
    atoms = atoms.copy()
    atoms.calc = make_calculator(skin, **options)
    speed = np.sqrt(1500 * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(speed * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    seen = []
    motion = dynamics(atoms)
    motion.attach(
        lambda: seen.append(
            np.concatenate(
                [atoms.positions, atoms.cell.array, atoms.get_forces(), [[atoms.get_potential_energy()] * 3]]
            )
        )
    )
    motion.run(steps)
    return np.array(seen), getattr(atoms.calc.transforms[0], "num_searches", None)


def at_constant_energy(atoms):
    return VelocityVerlet(atoms, timestep=2 * units.fs)


def at_constant_pressure(atoms):
    return NPTBerendsen(
        atoms, timestep=2 * units.fs, temperature_K=1500, pressure_au=0.0, compressibility_au=0.01 / units.GPa
    )


def salt():
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True)


SLAB = Atoms("Cu4", [[0.1, 0, 5], [0, 1.8, 6.8], [1.8, 0, 6.8], [1.8, 1.8, 5]], cell=[3.6, 3.6, 20])
SLAB.pbc = (True, True, False)


@pytest.mark.parametrize(
    ("atoms", "dynamics", "options"),
    [
        (salt(), at_constant_energy, {}),
        (salt(), at_constant_energy, {"max_neighbors": 8, "symmetric": True}),
        (salt(), at_constant_energy, {"backend": "numpy"}),
        (salt(), at_constant_pressure, {}),
        (SLAB, at_constant_energy, {"adaptive_cutoff": True}),
        (molecule("CH3CH2OH"), at_constant_energy, {"adaptive_cutoff": True}),
        (Atoms("He", [[1.0, 2, 3]]), at_constant_energy, {"adaptive_cutoff": True}),
    ],
)
def test_trajectory_does_not_depend_on_skin(atoms, dynamics, options):
    with_skin, num_searches = record(atoms, 1.0, dynamics, **options)
    without, _ = record(atoms, None, dynamics, **options)
    np.testing.assert_allclose(with_skin, without, rtol=0, atol=1e-10)
    if len(atoms) > 1:
        assert np.ptp(without[:, 0, 0]) > 0.01
    if dynamics is at_constant_pressure:  # the cell changes at every step
        assert num_searches == len(without)
    elif len(atoms) > 1:
        assert 1 <= num_searches < len(without) / 2


def test_list_is_built_again_after_half_the_skin():
    """The number of searches is the one that the recorded positions imply."""
    skin = 0.6
    seen, num_searches = record(salt(), skin, at_constant_energy, steps=40)
    positions = seen[:, : len(salt())]
    expected, last = 1, positions[0]
    for current in positions[1:]:
        if np.square(current - last).sum(axis=1).max() > (skin / 2) ** 2:
            expected, last = expected + 1, current
    assert num_searches == expected
    assert 3 <= expected <= 20
