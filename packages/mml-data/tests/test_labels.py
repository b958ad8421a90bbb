import pickle

import numpy as np
import pytest
from mml_data.importers.labels import LabelPlan, ambiguous_labels

GPA = 0.0062415091


def convert(structure, num_atoms=2, volume=8.0, plan=None, **options):
    return (plan or LabelPlan(**options)).convert(structure, num_atoms, lambda: volume)


FORCES = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("labels", "arrays", "targets"),
    [
        ({"energy": -1.0}, {"forces": FORCES}, {"energy": -1.0, "force": FORCES}),
        ({"REF_energy": -1}, {"REF_forces": FORCES}, {"energy": -1.0, "force": FORCES}),
        ({"dft_energy": -1.0}, {"dft_force": FORCES}, {"energy": -1.0, "force": FORCES}),
        ({"Energy": -1.0}, {"F": FORCES}, {"energy": -1.0, "force": FORCES}),
        ({"total_energy": -1.0, "forces": FORCES.tolist()}, {}, {"energy": -1.0, "force": FORCES}),
        ({"energy": -1.0, "free_energy": -1.1}, {}, {"energy": -1.0}),
        ({"free_energy": -1.1}, {}, {"energy": -1.1}),
        ({"corrected_total_energy": -3.0, "uncorrected_total_energy": -2.0}, {}, {"energy": -3.0}),
        ({"energy_per_atom": -1.5}, {}, {"energy": -3.0}),
        ({"energy": -3.1, "energy_per_atom": -1.5}, {}, {"energy": -3.1}),
        ({"virial": [8.0, 16, 24, 0, 0, 0]}, {}, {"stress": np.diag([-1.0, -2, -3])[None]}),
        ({"REF_virials": np.eye(3) * 8}, {}, {"stress": -np.eye(3)[None]}),
        ({"stress": np.eye(3), "virial": np.ones((3, 3))}, {}, {"stress": np.eye(3)[None]}),
        ({"dipole": [0.0, 0.5, 0.0]}, {}, {"dipole": [[0.0, 0.5, 0.0]]}),
    ],
)
def test_names_are_recognized(labels, arrays, targets):
    found, _, extra, _ = convert({"labels": labels, "atom_labels": arrays})
    assert found.keys() == targets.keys()
    for name, value in targets.items():
        np.testing.assert_allclose(found[name], value)
    assert len(extra) == len(labels) + len(arrays) - len(targets)


def test_keys_of_samples_are_recognized():
    labels = {"charge": 1, "spin": 2, "magmom": 3.5, "config_type": "bulk", "note": "x"}
    arrays = {
        "magmoms": [1.0, 2.5],
        "tags": np.array([0, 2]),
        "fixed": [True, False],
        "energy": FORCES[0, :2],
    }
    targets, keys, extra, recipe = convert({"labels": labels, "atom_labels": arrays})
    assert targets == {}
    assert {key: np.asarray(value).tolist() for key, value in keys.items()} == {
        "charge": 1.0,
        "spin": 2.0,
        "magmom": [1.0, 2.5],
        "tags": [0, 2],
        "fixed": [True, False],
    }
    # A total magnetic moment is not a moment per atom, and an energy per atom is not a total energy.
    assert extra.keys() == {"magmom", "config_type", "note", "energy"}
    assert recipe.extra


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (
            {"labels": {"energy": 1.0, "REF_energy": 2.0, "REF_stress": np.eye(3)}},
            r"'energy' and 'REF_energy' could each be the target 'energy'; choose one, .*"
            r"--targets energy=REF_energy stress$",
        ),
        ({"atom_labels": {"forces": FORCES, "REF_forces": FORCES}}, "could each be the target 'force'"),
        ({"labels": {"energy": [1.0, 2.0]}}, r"target 'energy' must be a number, got \[1.0, 2.0\]"),
        (
            {"labels": {"REF_energy": "low"}},
            r"target 'energy', read from 'REF_energy', must be a number, got 'low'",
        ),
        ({"labels": {"stress": [1, 2]}}, r"target 'stress' must have the shape \[3, 3\], got \[2\]"),
        ({"targets": [1.0]}, "'targets' must be an object, got list"),
    ],
)
def test_invalid_labels_raise(structure, message):
    with pytest.raises(ValueError, match=message):
        convert(structure)


def test_ambiguity_is_resolved_by_targets():
    structure = {"labels": {"energy": 1.0, "REF_energy": 2.0}, "atom_labels": {"forces": FORCES}}
    for targets in ({"energy": "REF_energy"}, ["energy=REF_energy"], ["REF_energy"]):
        found, _, extra, _ = convert(structure, targets=targets)
        assert found == {"energy": 2.0}
        assert extra.keys() == {"energy", "forces"}
    assert convert(structure, targets=["energy=energy", "force"])[0].keys() == {"energy", "force"}
    assert convert(structure, targets=())[0] == {}


def test_any_label_can_be_a_target():
    structure = {"labels": {"gap": 1, "dos": [1.0, 2, 3, 4]}, "atom_labels": {"charge": [0.5, -0.5]}}
    targets, _, extra, _ = convert(structure, targets=["gap", "dos", "q=charge"])
    assert targets["gap"] == 1.0
    assert targets["dos"].tolist() == [[1.0, 2, 3, 4]]
    assert targets["q"].tolist() == [0.5, -0.5]
    assert not extra


def test_expression_converts():
    structure = {"labels": {"s": np.eye(3) * 10, "e": -1.0}}
    options = {"targets": {"stress": "s:-1*kbar", "energy": "e:hartree*natoms"}}
    targets = convert(structure, **options)[0]
    np.testing.assert_allclose(targets["stress"][0], -np.eye(3) * GPA, rtol=1e-6)
    assert targets["energy"] == pytest.approx(-2 * 27.2113860)


def test_virial_without_volume_is_missing():
    assert convert({"labels": {"virial": np.eye(3)}}, volume=None)[0] == {}


def test_units_convert_all_quantities():
    structure = {"labels": {"energy": 1.0, "stress": np.eye(3)}, "atom_labels": {"forces": np.ones((2, 3))}}
    plan = LabelPlan(units={"energy": "hartree", "length": "bohr"})
    targets = convert(structure, plan=plan)[0]
    hartree, bohr = 27.211386, 0.52917721
    assert targets["energy"] == pytest.approx(hartree)
    assert targets["force"][0, 0] == pytest.approx(hartree / bohr)
    assert targets["stress"][0, 0, 0] == pytest.approx(hartree / bohr**3)
    assert plan.length == pytest.approx(bohr)
    virial = convert({"labels": {"virial": np.eye(3)}}, plan=plan)[0]["stress"]
    assert virial[0, 0, 0] == pytest.approx(-hartree / 8)  # the volume is already in angstrom^3
    stress = convert(structure, units={"stress": "GPa"})[0]["stress"]
    assert stress[0, 0, 0] == pytest.approx(GPA, rel=1e-6)
    assert convert(structure, units={"targets.energy": "meV"})[0]["energy"] == 1.0


def test_classes_keep_integers_and_words():
    structure = {"targets": {"system": "cubic", "group": 225, "metal": True}}
    targets = convert(structure, classes=["system", "group"])[0]
    assert targets == {"system": "cubic", "group": 225, "metal": 1}
    with pytest.raises(ValueError, match=r"'system' is the text 'cubic', .*--classes"):
        convert(structure)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "energy"}, r"targets must be a list of names, got the text 'energy'; pass \['energy'\]"),
        ({"classes": "metal"}, "classes must be a list of names"),
        ({"targets": ["energy="]}, "'energy=' is not a target"),
        ({"targets": ["energy=a", "energy=b"]}, "targets contain 'energy' twice"),
        ({"targets": {"stress": "virial:-1/volum"}}, "'volum' is not a known unit; did you mean 'volume'"),
        ({"units": {"energy": "kcl/mol"}}, "'kcl' is not a known unit; did you mean 'kcal'"),
        (
            {"units": {"enrgy": "eV"}, "targets": ["energy"]},
            "units contain 'enrgy', which is not a quantity; did you mean 'energy'",
        ),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        LabelPlan(**options)


def test_missing_values_raise_on_request():
    structure = {"labels": {"energy": float("nan")}}
    assert convert(structure)[0] == {}
    with pytest.raises(ValueError, match=r"target 'energy' is missing .*allow_missing=True"):
        convert(structure, allow_missing=False)


def test_plan_is_pickled_without_recipes():
    plan = LabelPlan(["energy=E:hartree"], units={"length": "bohr"})
    convert({"labels": {"E": 1.0}}, plan=plan)
    copy = pickle.loads(pickle.dumps(plan))
    assert copy.describe() == plan.describe()
    assert convert({"labels": {"E": 1.0}}, plan=copy)[0] == convert({"labels": {"E": 1.0}}, plan=plan)[0]


def test_ambiguous_label_is_explained():
    assert ambiguous_labels(["gap", "virial_stress"]).keys() == {"virial_stress"}
    assert convert({"labels": {"virial_stress": [1.0] * 6}})[0] == {}
