import itertools
import sys
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.verlet import VelocityVerlet
from mml_samples import optional_module
from mml_tasks import (
    ForceRegressionTask,
    GradFreeForceRegressionTask,
    MultiTaskLitModule,
    ScalarRegressionTask,
)
from mml_tasks.ase_calculator import TaskCalculator
from mml_tasks.testing import ToyEncoder, random_structure, toy_batch, toy_graph

NUMBERS = {"energy_per_atom_mean": -1.5, "force_std": 20.0}


def graph_of_sample(sample: dict[str, Any]) -> dict[str, Any]:
    """Build a graph as the transforms of mml-graphs do. A molecule has a cell without neighboring images."""
    cell = sample.get("cell", 50 * torch.eye(3, dtype=sample["pos"].dtype)[None])
    dtype = torch.get_default_dtype()
    graph = toy_graph(sample["atomic_numbers"], sample["pos"].to(dtype), cell[0].to(dtype))
    return {**sample, "graph": toy_batch([graph])["graph"]}


def single_graph(sample: dict[str, Any]) -> dict[str, Any]:
    """Build the graph of a sample without a structure index."""
    graph = graph_of_sample(sample)["graph"]
    del graph.batch
    return {**sample, "graph": graph}


def make_task(**options: Any) -> ForceRegressionTask:
    torch.manual_seed(0)
    return ForceRegressionTask(ToyEncoder(), normalize_kwargs=NUMBERS, **options).double()


def make_atoms(seed: int = 0) -> Atoms:
    numbers, pos, cell = random_structure(seed)
    return Atoms(numbers.numpy(), positions=pos.numpy(), cell=cell.numpy(), pbc=True)


@pytest.mark.parametrize("seed", range(3))
def test_forces_and_stress_equal_numerical_derivatives(seed):
    atoms = make_atoms(seed)
    atoms.calc = make_task(compute_stress=True).as_ase_calculator([graph_of_sample])
    forces, stress = atoms.get_forces(), atoms.get_stress()
    np.testing.assert_allclose(forces, calculate_numerical_forces(atoms, eps=1e-4), atol=1e-6)
    np.testing.assert_allclose(stress, calculate_numerical_stress(atoms, eps=1e-5), atol=1e-7)
    assert np.abs(forces).max() > 1e-3
    assert np.abs(stress).max() > 1e-5


def test_atom_energies_sum_to_energy():
    atoms = make_atoms()
    task = make_task()
    atoms.calc = task.as_ase_calculator([graph_of_sample])
    energy = atoms.get_potential_energy()
    assert isinstance(energy, float)
    assert atoms.get_potential_energies().sum() == pytest.approx(energy)
    assert atoms.get_potential_energy(force_consistent=True) == energy
    sample = {"atomic_numbers": torch.tensor(atoms.numbers), "pos": torch.tensor(atoms.positions)}
    sample["cell"] = torch.tensor(atoms.cell.array)[None]
    torch.set_default_dtype(torch.float64)
    try:
        assert energy == task.predict(graph_of_sample(sample))["energy"].item()
    finally:
        torch.set_default_dtype(torch.float32)


def test_single_graph_gives_equal_results():
    """Transforms create a sample, but encoders were trained on batches."""
    atoms = make_atoms()
    task = make_task(compute_stress=True)
    found = [
        [calc.get_property(name, atoms) for name in ("energy", "forces", "stress", "energies")]
        for calc in (task.as_ase_calculator([graph_of_sample]), task.as_ase_calculator([single_graph]))
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def drift(timestep: float, steps: int) -> float:
    """Return the deviation of the total energy in a run, in eV/atom."""
    atoms = make_atoms(1)
    atoms.calc = make_task().as_ase_calculator([graph_of_sample])
    speed = np.sqrt(50 * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(speed * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, timestep=timestep * units.fs)
    seen: list[float] = []
    dynamics.attach(lambda: seen.append(atoms.get_total_energy() / len(atoms)))
    dynamics.run(steps)
    return max(seen) - min(seen)


def test_energy_error_is_quadratic_in_time_step():
    """This holds only for forces that are the derivative of an energy."""
    coarse, fine = drift(2.0, 50), drift(1.0, 100)
    assert coarse / fine == pytest.approx(4.0, rel=0.25)
    assert fine < 1e-3


def test_results_are_cached(monkeypatch):
    atoms = make_atoms()
    atoms.calc = make_task().as_ase_calculator([graph_of_sample])
    calls = []
    predict = atoms.calc.task.predict
    monkeypatch.setattr(atoms.calc.task, "predict", lambda batch: calls.append(1) or predict(batch))
    atoms.get_forces(), atoms.get_potential_energy(), atoms.get_forces()
    assert len(calls) == 1
    atoms.positions[0, 0] += 0.1
    atoms.get_forces()
    assert len(calls) == 2
    atoms.set_initial_charges([1.0] * len(atoms))
    atoms.get_forces()
    assert len(calls) == 2


def test_unchanged_arrays_are_kept():
    """Arrays are read again only after a change, and results are those of a new calculator."""
    atoms, seen = make_atoms(), []

    def watch(sample):
        seen.append(sample)
        return graph_of_sample(sample)

    atoms.calc = make_task(compute_stress=True).as_ase_calculator([watch])
    for change in ("positions", "numbers", "cell", "positions"):
        atoms.get_forces()
        if change == "positions":
            atoms.positions[0, 0] += 0.1
        elif change == "numbers":
            atoms.numbers[0] = 8 if atoms.numbers[0] != 8 else 6
        else:
            atoms.set_cell(atoms.cell.array * 1.01)
        fresh = atoms.copy()
        fresh.calc = make_task(compute_stress=True).as_ase_calculator([graph_of_sample])
        np.testing.assert_array_equal(atoms.get_forces(), fresh.get_forces())
        np.testing.assert_array_equal(atoms.get_stress(), fresh.get_stress())
    kept = [one["cell"] is two["cell"] for one, two in itertools.pairwise(seen)]
    assert kept == [True, False, False, True]


def test_skin_is_passed_to_transforms():
    class Neighbors:
        def __init__(self, skin=None):
            self.skin = skin

        def with_skin(self, skin):
            return Neighbors((skin,))

        def __call__(self, sample):
            return graph_of_sample(sample)

    atoms = make_atoms()
    for skin in (None, 0.5):
        calc = make_task().as_ase_calculator([Neighbors()], skin=skin)
        assert calc.transforms[0].skin == (skin,)
        assert np.isfinite(calc.get_potential_energy(atoms))
    with pytest.raises(ValueError, match=r"skin is 0.5, but none of the transforms \['function'\] has"):
        make_task().as_ase_calculator([graph_of_sample], skin=0.5)


def test_default_dtype_is_restored():
    atoms = make_atoms()
    single = make_task().float().as_ase_calculator([graph_of_sample])
    double = make_task().as_ase_calculator([graph_of_sample])
    energies = [calc.get_potential_energy(atoms) for calc in (single, double)]
    assert energies[0] != energies[1]
    assert energies[0] == pytest.approx(energies[1], rel=1e-5)
    assert torch.get_default_dtype() == torch.float32


def test_task_keeps_mode():
    atoms, task = make_atoms(), make_task().train()
    task.as_ase_calculator([graph_of_sample]).get_potential_energy(atoms)
    assert task.training
    assert all(p.grad is None for p in task.parameters())


@pytest.mark.parametrize("cell", [None, [8, 8, 8]])
def test_molecule_has_no_stress(cell):
    atoms = Atoms("H2O", positions=[[0.0, 0, 0.1], [0.8, 0.5, 0], [-0.8, 0.5, 0]], cell=cell)
    atoms.calc = make_task(compute_stress=True).as_ase_calculator([graph_of_sample])
    assert atoms.get_forces().shape == (3, 3)
    with pytest.raises(
        PropertyNotImplementedError, match="the stress requires periodic atoms with three lattice"
    ):
        atoms.get_stress()
    assert atoms.calc.task.compute_stress


def test_direct_forces_need_no_energy():
    torch.manual_seed(0)
    task = GradFreeForceRegressionTask(ToyEncoder())
    atoms = make_atoms()
    atoms.calc = task.as_ase_calculator([graph_of_sample])
    assert atoms.get_forces().shape == (4, 3)
    with pytest.raises(PropertyNotImplementedError, match=r"does not predict 'energy', only \['forces'\]"):
        atoms.get_potential_energy()


def test_missing_properties_are_refused():
    atoms = make_atoms()
    atoms.calc = make_task().as_ase_calculator([graph_of_sample])
    with pytest.raises(PropertyNotImplementedError, match=r"'stress'.*Create the task with compute_stress"):
        atoms.get_stress()
    with pytest.raises(ValueError, match=r"a calculator needs a task .* predicts \['band_gap'\]"):
        ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"]).as_ase_calculator()


@pytest.mark.parametrize(
    ("atoms", "transforms", "message"),
    [
        (Atoms(), [graph_of_sample], "the Atoms object is empty"),
        (
            Atoms("H", pbc=[False, True, False]),
            [graph_of_sample],
            "periodic along axis 1, but their cell has no lattice vector",
        ),
        (Atoms("H"), [], r"transforms \[\] did not create a 'graph'"),
    ],
)
def test_invalid_atoms_are_refused(atoms, transforms, message):
    with pytest.raises(ValueError, match=message):
        make_task().as_ase_calculator(transforms).calculate(atoms)


def test_single_transform_is_refused():
    with pytest.raises(TypeError, match=r"transforms must be a list, got <function .*Pass \[transform\]"):
        make_task().as_ase_calculator(graph_of_sample)


def test_units_are_converted():
    atoms, other, third = make_atoms(), make_atoms(), make_atoms()
    atoms.calc = make_task().as_ase_calculator([graph_of_sample])
    other.calc = make_task().as_ase_calculator([graph_of_sample], conversion_factor=units.Hartree)
    third.calc = make_task().as_ase_calculator([graph_of_sample], conversion_factor={"energy": 2.0})
    energy, forces, shares = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_potential_energies()
    assert other.get_potential_energy() == pytest.approx(energy * units.Hartree)
    np.testing.assert_allclose(other.get_forces(), forces * units.Hartree)
    assert third.get_potential_energy() == pytest.approx(2 * energy)
    np.testing.assert_allclose(third.get_potential_energies(), 2 * shares)
    np.testing.assert_allclose(third.get_forces(), forces)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"a calculator needs a task that predicts 'energy' .* predicts"):
        make_task().as_ase_calculator([graph_of_sample], output_map={"energy": "total", "forces": "f"})
    with pytest.raises(ValueError, match="unknown property 'dipoles', expected one of"):
        make_task().as_ase_calculator([graph_of_sample], output_map={"dipoles": "dipole"})
    with pytest.raises(ValueError, match="unknown property 'mass', expected one of"):
        make_task().as_ase_calculator([graph_of_sample], conversion_factor={"mass": 2.0})


def test_multitask_module_is_refused():
    both = MultiTaskLitModule(("a", make_task()))
    with pytest.raises(TypeError, match="must be a single task, got a MultiTaskLitModule"):
        TaskCalculator(task_module=both, transforms=[graph_of_sample])


def test_missing_ase_names_install_command(monkeypatch):
    optional_module.cache_clear()
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(ImportError, match=r'python -m pip install "mml-tasks\[ase\]"'):
        make_task().as_ase_calculator()
