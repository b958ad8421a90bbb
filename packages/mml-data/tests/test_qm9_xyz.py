from pathlib import Path

import numpy as np
import pytest
from mml_data.importers.readers.qm9_xyz import FORMAT, PROPERTIES, read_qm9
from mml_data.importers.readers.units import HARTREE

CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures" / "08-text"
WATER = (
    "3\ngdb 3\t799.5\t437.9\t282.9\t1.85\t6.31\t-0.29\t0.07\t0.36\t19.0\t0.0213\t"
    "-76.40\t-76.39\t-76.38\t-76.42\t6.0\t\n"
    "O\t-0.034\t 0.97\t 7.5*^-6\t-0.58\nH\t 0.06\t 0.02\t 2.0*^-6\t 0.29\nH\t 0.87\t 1.30\t 6.9*^-7\t 0.29\n"
    "1671.4\t3803.6\t3907.6\nO\tO\t\nInChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n"
)


def test_properties_are_converted(tmp_path):
    path = tmp_path / "dsgdb9nsd_000003.xyz"
    path.write_text(WATER)
    assert FORMAT.matches(path.name, path.read_bytes())
    ((place, found),) = read_qm9(path)
    assert place == f"{path}:frame 1"
    values = [float(word) for word in WATER.splitlines()[1].split()[2:]]
    energies = {"homo", "lumo", "gap", "zpve", "U0", "U", "H", "G"}
    expected = {
        name: value * (HARTREE if name in energies else 1)
        for name, value in zip(PROPERTIES, values, strict=True)
    }
    assert found["labels"] == pytest.approx(expected)
    np.testing.assert_array_equal(found["positions"][:, 2], [7.5e-6, 2e-6, 6.9e-7])
    np.testing.assert_array_equal(found["atom_labels"]["mulliken_charges"], [-0.58, 0.29, 0.29])
    assert found["extra"]["frequencies"] == [1671.4, 3803.6, 3907.6]
    assert (found["sample_id"], found["extra"]["smiles"]) == ("gdb_3", ["O", "O"])


def test_molecules_in_one_file_are_read(tmp_path):
    (tmp_path / "a.xyz").write_text(WATER + WATER.replace("gdb 3", "gdb 4"))
    assert [found["sample_id"] for _, found in read_qm9(tmp_path / "a.xyz")] == ["gdb_3", "gdb_4"]


@pytest.mark.parametrize("lines", [2, 3, 4])
def test_truncated_molecule_is_item(tmp_path, lines):
    (tmp_path / "a.xyz").write_text("".join(WATER.splitlines(keepends=True)[:lines]))
    ((_, error),) = read_qm9(tmp_path / "a.xyz")
    assert "damaged or truncated" in str(error)


def test_other_xyz_does_not_match():
    assert not FORMAT.matches("a.xyz", b"1\nProperties=species:S:1:pos:R:3 gdb=1\nH 0 0 0\n")


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_cases_are_equal():
    (_, first), (_, second) = (next(read_qm9(CASES / file)) for file in ("qm9.xyz", "qm9b.xyz"))
    np.testing.assert_array_equal(first["positions"], second["positions"])
    assert first["labels"] == second["labels"]
    assert first["labels"]["U0"] == pytest.approx(-40.4 * HARTREE)
