from pathlib import Path

import numpy as np
import pytest
from mml_data.importers.readers.ase_json import FORMAT, read_ase_json

ase = pytest.importorskip("ase")
CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures" / "05-json"


def connected(path):
    from ase.db import connect

    return connect(str(path), type="json", use_lock_file=False)


def test_rows_equal_ase(tmp_path):
    from ase.calculators.singlepoint import SinglePointCalculator

    path = tmp_path / "a.json"
    rng = np.random.default_rng(0)
    database = connected(path)
    for number in range(3):
        atoms = ase.Atoms(
            "OH2", rng.normal(size=(3, 3)), cell=[4, 5, 6] if number else None, pbc=bool(number)
        )
        results = {"energy": rng.normal(), "forces": rng.normal(size=(3, 3)), "dipole": rng.normal(size=3)}
        results |= {"stress": rng.normal(size=6), "magmoms": rng.normal(size=3)} if number else {}
        atoms.calc = SinglePointCalculator(atoms, **results)
        database.write(atoms, data={"dos": np.arange(4.0), "about": {"x": 1}}, gap=1.5, name="w")
    assert FORMAT.matches("a.json", path.read_bytes())
    found = [structure for _, structure in read_ase_json(path)]
    assert len(found) == 3
    for structure, row in zip(found, database.select(), strict=True):
        atoms = row.toatoms()
        np.testing.assert_array_equal(structure["positions"], atoms.positions)
        np.testing.assert_array_equal(structure["atomic_numbers"], atoms.numbers)
        np.testing.assert_array_equal(structure["pbc"], atoms.pbc)
        np.testing.assert_array_equal(structure["atom_labels"]["forces"], atoms.get_forces())
        np.testing.assert_array_equal(structure["labels"]["dipole"], row.dipole)
        assert structure["labels"]["energy"] == row.energy
        assert (structure["labels"]["gap"], structure["labels"]["name"]) == (1.5, "w")
        assert structure["extra"]["about"] == {"x": 1}
        if atoms.pbc.any():
            np.testing.assert_array_equal(structure["cell"], atoms.cell)
            np.testing.assert_array_equal(structure["labels"]["stress"], atoms.get_stress(voigt=False))
            np.testing.assert_array_equal(structure["atom_labels"]["magmom"], row.magmoms)
        else:
            assert structure["cell"] is None


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_cases_are_read():
    found = [structure for _, structure in read_ase_json(CASES / "ase.json")]
    assert [each["labels"]["energy"] for each in found][:2] == [-7.0, -8.0]
    np.testing.assert_array_equal(found[0]["labels"]["dos"], [0, 1, 2, 3])
    np.testing.assert_allclose(found[0]["labels"]["stress"][0], [0.01, 0.06, 0.05])


def test_rows_before_damage_are_read(tmp_path):
    database = connected(tmp_path / "a.json")
    for _ in range(2):
        database.write(ase.Atoms("H"))
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(text[: text.rindex('"positions"')])
    (_, first), (_, error) = read_ase_json(tmp_path / "a.json")
    assert list(first["atomic_numbers"]) == [1]
    assert "truncated" in str(error)
