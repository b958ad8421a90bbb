"""Plant faults in sound data, and expect the check to name each of them and nothing else."""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from mml_data.devsets import devset_path
from mml_data.physics.check_dataset import check_dataset, check_samples

SHARED = Path(__file__).parents[4] / "shared" / "data"
KBAR = 1602.1766


def findings(samples, splits=None):
    splits = splits or [""] * len(samples)
    return check_samples(zip(range(len(samples)), splits, samples, strict=True))


def severe(found):
    return [(each.check, each.message) for each in found if each.severity in ("error", "warning")]


def sample(atoms, source, frame, **extra):
    shift = {29: -1900.0, 79: -880.0}
    energy = atoms.get_potential_energy() + sum(shift[number] for number in atoms.numbers)
    return {
        "atomic_numbers": atoms.numbers.astype(np.uint8),
        "pos": atoms.positions.copy(),
        "cell": atoms.cell.array[None].copy(),
        "pbc": np.ones(3, dtype=bool),
        "targets": {
            "energy": float(energy),
            "force": atoms.get_forces(),
            "stress": atoms.get_stress(voigt=False)[None],
        },
        "extra": {"source": source, "frame": frame, **extra},
    }


@pytest.fixture(scope="module")
def trajectory():
    """Molecular dynamics of two alloys of copper and gold at 600 K, with strained copies of some frames."""
    from ase import units
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.md.verlet import VelocityVerlet

    samples = []
    for number, (repeat, gold) in enumerate((((2, 2, 2), 8), ((2, 2, 1), 5))):
        random = np.random.default_rng(number)
        atoms = bulk("Cu", cubic=True, a=3.78).repeat(repeat)
        atoms.numbers[random.permutation(len(atoms))[:gold]] = 79
        atoms.calc = EMT()
        momenta = random.normal(size=(len(atoms), 3)) * np.sqrt(1200 * units.kB * atoms.get_masses())[:, None]
        atoms.set_momenta(momenta - momenta.mean(axis=0))
        steps = VelocityVerlet(atoms, 5 * units.fs)
        steps.run(40)
        for frame in range(60):
            steps.run(5)
            samples.append(sample(atoms, f"run-{number}.xyz", frame))
            if frame % 4 == 0:
                strained = atoms.copy()
                strain = random.normal(scale=0.008, size=(3, 3))
                strained.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
                strained.calc = EMT()
                samples.append(sample(strained, f"run-{number}.xyz", frame))
    return samples


@pytest.fixture(scope="module")
def lips():
    return _shared_lines("lips")


def _shared_lines(name):
    file = SHARED / f"{name}.jsonl"
    if not file.exists():
        pytest.skip(f"{file.name} is not in shared/data")
    samples = []
    for line in file.read_text().splitlines():
        entry = json.loads(line)
        targets = {
            key: np.array(value) if isinstance(value, list) else np.nan if value is None else value
            for key, value in entry["targets"].items()
        }
        samples.append(
            {
                "atomic_numbers": np.array(entry["atomic_numbers"]),
                "pos": np.array(entry["positions"]),
                "cell": np.array(entry["cell"])[None],
                "pbc": np.array(entry["pbc"]),
                "targets": targets,
                "extra": entry["extra"] | {"source": f"{name}.jsonl", "frame": entry["index"]},
            }
        )
    return samples


def every(change):
    def plant(samples):
        for each in samples:
            change(each)

    return plant


def some(change, step=10):
    def plant(samples):
        for each in samples[3::step]:
            change(each)

    return plant


def label(name, factor):
    def change(each):
        each["targets"][name] = each["targets"][name] * factor

    return change


def shuffle_atoms(samples):
    random = np.random.default_rng(0)
    for each in samples:
        each["targets"]["force"] = random.permutation(each["targets"]["force"])


def shift_frames(samples):
    forces = [each["targets"]["force"] for each in samples]
    for each, other in zip(samples, forces[7:] + forces[:7], strict=True):
        if len(other) == len(each["pos"]):
            each["targets"]["force"] = other


def lengths(pos, cell):
    def change(each):
        each["pos"], each["cell"] = each["pos"] * pos, each["cell"] * cell

    return change


def fractional(each):
    each["pos"] = each["pos"] @ np.linalg.inv(each["cell"][0])


def swap_components(each):
    stress = each["targets"]["stress"][0].copy()
    stress[0, 2], stress[1, 2] = stress[1, 2], stress[0, 2]
    each["targets"]["stress"] = (np.triu(stress) + np.triu(stress, 1).T)[None]


def virial(each):
    volume = abs(np.linalg.det(each["cell"][0]))
    each["targets"]["stress"] = -each["targets"]["stress"] * volume


def outlier(samples):
    samples[17]["targets"]["energy"] += 25.0


def two_levels(samples):
    for each in samples[: len(samples) // 3]:
        each["targets"]["energy"] += 0.8 * len(each["pos"])
        each["extra"]["config_type"] = "other functional"


def unconverged_flag(samples):
    for each in samples[5:9]:
        each["extra"]["converged"] = False


def unconverged_energies(samples):
    random = np.random.default_rng(1)
    for each in samples[2::25]:
        each["targets"]["energy"] += random.choice([-1, 1]) * 0.012 * len(each["pos"])


def zero_forces(each):
    each["targets"]["force"] = np.zeros_like(each["targets"]["force"])


def swap_elements(samples):
    for each in samples[11:13]:
        numbers = each["atomic_numbers"]
        kinds = np.unique(numbers)
        each["atomic_numbers"] = np.where(
            numbers == kinds[0], kinds[1], np.where(numbers == kinds[1], kinds[0], numbers)
        ).astype(numbers.dtype)


def types_as_elements(samples):
    for each in samples:
        kinds = np.unique(each["atomic_numbers"])
        each["atomic_numbers"] = np.searchsorted(kinds, each["atomic_numbers"]) + 1


def missing_cell(each):
    del each["cell"]
    each["pbc"] = np.zeros(3, dtype=bool)


def no_cell_but_periodic(each):
    del each["cell"]


def not_periodic(each):
    each["pbc"] = np.zeros(3, dtype=bool)


def offset(each):
    each["targets"]["force"] = each["targets"]["force"] + np.array([0.2, 0.0, 0.0])


def stuck(samples):
    for number in range(20, 24):
        samples[number]["targets"] = deepcopy(samples[19]["targets"])


def placeholder(samples):
    samples[8]["targets"]["energy"] = -999.0


def repeat_with_other_energy(samples):
    samples[40] = deepcopy(samples[30])
    samples[40]["targets"]["energy"] += 3.0


def close_atoms(samples):
    samples[4]["pos"][0] = samples[4]["pos"][1] + 0.2


FAULTS = {
    "sign of forces": (every(label("force", -1)), "energy_force", "sign of the forces"),
    "forces in eV/bohr": (every(label("force", 0.529177)), "energy_force", "eV/bohr"),
    "forces in hartree/bohr": (every(label("force", 0.01944690)), "energy_force", "hartree/bohr"),
    "forces in kcal/mol": (every(label("force", 23.0605)), "energy_force", "forces in kcal/mol"),
    "energies in kcal/mol": (every(label("energy", 23.0605)), "energy_force", "energies in kcal/mol"),
    "energies in hartree": (every(label("energy", 1 / 27.2114)), "energy_force", "energies in hartree"),
    "forces of other atoms": (shuffle_atoms, "energy_force", "not related"),
    "forces of other frames": (shift_frames, "energy_force", "not related"),
    "energies per atom": (
        every(lambda each: label("energy", 1 / len(each["pos"]))(each)),
        "energy_force",
        "per atom",
    ),
    "some energies per atom": (
        some(lambda each: label("energy", 1 / len(each["pos"]))(each)),
        "energies",
        "per atom",
    ),
    "one outlier": (outlier, "energies", "1 of"),
    "two levels of theory": (two_levels, "energies", "two levels"),
    "marked as not converged": (unconverged_flag, "convergence", "4 of"),
    "energies not converged": (unconverged_energies, "convergence", "do not follow"),
    "zero forces": (some(zero_forces, 30), "forces", "exactly zero"),
    "offset of forces": (every(offset), "net_force", "sum to zero"),
    "positions and cell in bohr": (every(lengths(1.88973, 1.88973)), "lengths", "bohr"),
    "positions in bohr": (every(lengths(1.88973, 1)), "lengths", "positions in bohr"),
    "positions and cell in nm": (every(lengths(0.1, 0.1)), "lengths", "nm"),
    "some frames in bohr": (some(lengths(1.88973, 1.88973)), "lengths", "bohr"),
    "fractional coordinates": (every(fractional), "lengths", "fractional"),
    "exchanged elements": (swap_elements, "elements", "2 samples"),
    "types as elements": (types_as_elements, "elements", "atom types"),
    "some cells lost": (some(missing_cell), "cells", "no cell"),
    "periodic without cell": (every(no_cell_but_periodic), "cells", "declared periodic"),
    "cell without pbc": (every(not_periodic), "cells", "not declared periodic"),
    "labels of another frame": (stuck, "stuck_labels", "4 samples"),
    "placeholder": (placeholder, "labels", "-999"),
    "structure with two energies": (repeat_with_other_energy, "duplicates", "different energies"),
    "atoms on top of each other": (close_atoms, "close_atoms", "1 of"),
}
STRESS_FAULTS = {
    "stress in kbar": (every(label("stress", KBAR)), "stress", "kbar"),
    "stress in GPa": (every(label("stress", KBAR / 10)), "stress", "GPa"),
    "sign of stress": (every(label("stress", -1)), "stress", "sign of the stress"),
    "virial instead of stress": (every(virial), "stress", "virial"),
    "order of components": (every(swap_components), "stress_order", "wrong order"),
}


@pytest.mark.parametrize("fault", FAULTS | STRESS_FAULTS)
def test_fault_is_named(fault, trajectory):
    plant, check, words = (FAULTS | STRESS_FAULTS)[fault]
    samples = deepcopy(trajectory)
    plant(samples)
    found = severe(findings(samples))
    assert any(each == check and words in message for each, message in found), found


@pytest.mark.parametrize("fault", [each for each in FAULTS if each != "energies not converged"])
@pytest.mark.slow
def test_fault_in_lips_is_named(fault, lips):
    plant, check, words = FAULTS[fault]
    samples = deepcopy(lips)
    plant(samples)
    found = severe(findings(samples))
    assert any(each == check and words in message for each, message in found), found


def test_sound_trajectory_has_no_findings(trajectory):
    found = findings(trajectory)
    assert severe(found) == []
    assert {"net_force", "energy_force", "stress"} <= {each.check for each in found if each.severity == "ok"}


def test_duplicates_across_splits_are_found(trajectory):
    samples = [*trajectory, deepcopy(trajectory[5])]
    splits = ["train"] * len(trajectory) + ["test"]
    (found,) = (each for each in findings(samples, splits) if each.check == "duplicates")
    assert (found.severity, found.frames) == ("error", (5, len(trajectory)))


def test_leakage_along_trajectory_is_found(trajectory):
    splits = np.random.default_rng(0).choice(["train", "val"], len(trajectory), p=[0.8, 0.2]).tolist()
    assert "leakage" in {each.check for each in findings(trajectory, splits)}
    whole = ["train" if each["extra"]["source"] == "run-0.xyz" else "val" for each in trajectory]
    assert "leakage" not in {each.check for each in findings(trajectory, whole)}


@pytest.mark.parametrize("name", ["emt", "prototypes"])
def test_embedded_datasets_are_sound(name):
    assert severe(check_dataset(devset_path(name))) == []


@pytest.mark.parametrize("name", ["lips", "materials_project"])
def test_shared_datasets_are_sound(name):
    samples = _shared_lines(name)
    splits = np.where(np.arange(len(samples)) % 10 < 8, "train", "val").tolist()
    assert [each for each in severe(findings(samples, splits)) if each[0] != "leakage"] == []


@pytest.mark.parametrize("element", ["Si", "Mo"])
def test_mlearn_stress_has_order_of_lammps(element):
    """The order is xx yy zz xy xz yz, except in Elastic of Si. The unit is kbar with the sign of VASP."""
    samples = _mlearn(element, ("xx", "yy", "zz", "xy", "yz", "xz"))
    (found,) = (each for each in findings(samples) if each.check == "stress_order")
    assert "yz holds xz, xz holds yz" in found.message
    assert any(each.startswith("AIMD-NVT") for each in found.numbers["groups"])
    assert any(each.startswith("Elastic") for each in found.numbers["groups"]) == (element == "Mo")
    found = findings(_mlearn(element, ("xx", "yy", "zz", "xy", "xz", "yz"), other={"Si": "Elastic"}))
    (unit,) = (each for each in found if each.check == "stress")
    assert (unit.severity, round(unit.numbers["factor"], 1)) == ("ok", 1.0)
    assert [each for each in severe(found) if each[0] not in ("duplicates", "leakage")] == []


def _mlearn(element, order, other=None):
    file = SHARED / "mlearn" / f"{element}_training.json"
    if not file.exists():
        pytest.skip("mlearn is not in shared/data")
    samples = []
    for entry in json.loads(file.read_text()):
        structure, outputs = entry["structure"], entry["outputs"]
        cell = np.array(structure["lattice"]["matrix"])
        used = order
        if (other or {}).get(element) == entry["group"]:
            used = ("xx", "yy", "zz", "xy", "yz", "xz")
        stress = np.zeros((1, 3, 3))
        for name, value in zip(used, outputs["virial_stress"], strict=True):
            row, column = ("xyz".index(axis) for axis in name)
            stress[0, row, column] = stress[0, column, row] = -value / KBAR
        samples.append(
            {
                "atomic_numbers": np.full(len(structure["sites"]), {"Si": 14, "Mo": 42}[element]),
                "pos": np.array([site["abc"] for site in structure["sites"]]) @ cell,
                "cell": cell[None],
                "pbc": np.ones(3, dtype=bool),
                "targets": {
                    "energy": outputs["energy"],
                    "force": np.array(outputs["forces"]),
                    "stress": stress,
                },
                "extra": {"group": entry["group"]},
            }
        )
    return samples
