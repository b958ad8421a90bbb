import numpy as np
import pytest
from mml_data.importers.readers.ase_atoms import from_atoms

ase = pytest.importorskip("ase")
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402
from ase.constraints import FixAtoms, FixCartesian  # noqa: E402


def test_every_value_is_a_label():
    atoms = ase.Atoms("H2", positions=np.eye(3)[:2], cell=[3, 4, 5], pbc=[True, True, False])
    atoms.info["name"] = "x"
    atoms.set_array("softness", np.arange(2.0))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((2, 3)), magmoms=np.zeros(2))
    found = from_atoms(atoms, gap=0.5)
    assert found["labels"] == {"energy": -1.0, "name": "x", "gap": 0.5}
    assert sorted(found["atom_labels"]) == ["forces", "magmoms", "softness"]
    assert found["cell"].tolist() == np.diag([3, 4, 5]).tolist()
    assert found["pbc"] == [True, True, False]


def test_constraints_become_fixed():
    atoms = ase.Atoms("H4", positions=np.zeros((4, 3)))
    assert "fixed" not in from_atoms(atoms)["atom_labels"]
    atoms.set_constraint([FixAtoms([0]), FixCartesian(2), FixCartesian(3, mask=[True, False, False])])
    assert from_atoms(atoms)["atom_labels"]["fixed"].tolist() == [True, False, True, False]
