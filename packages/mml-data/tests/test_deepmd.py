import numpy as np
import pytest
from mml_data.importers.readers.deepmd import FORMAT, read_system

rng = np.random.default_rng(0)
ARRAYS = {
    "coord": rng.normal(size=(3, 6)),
    "box": np.tile(2 * np.eye(3).reshape(1, 9), (3, 1)),
    "energy": rng.normal(size=3),
    "force": rng.normal(size=(3, 6)),
    "virial": rng.normal(size=(3, 9)),
}


@pytest.fixture
def system(tmp_path):
    (tmp_path / "type.raw").write_text("1\n0\n")
    (tmp_path / "type_map.raw").write_text("O\nSi\n")
    for number in range(2):
        part = tmp_path / f"set.{number:03d}"
        part.mkdir()
        for name, values in ARRAYS.items():
            np.save(part / f"{name}.npy", values + number if name == "energy" else values)
    return tmp_path


def test_sets_are_read_in_order(system):
    found = [structure for _, structure in read_system(system)]
    assert [each["labels"]["energy"] for each in found] == [*ARRAYS["energy"], *(ARRAYS["energy"] + 1)]
    assert all(each["atomic_numbers"] == [14, 8] for each in found)
    np.testing.assert_array_equal([each["positions"].ravel() for each in found[:3]], ARRAYS["coord"])
    np.testing.assert_array_equal(
        [each["atom_labels"]["forces"].ravel() for each in found[3:]], ARRAYS["force"]
    )
    np.testing.assert_allclose(
        [each["labels"]["stress"].ravel() for each in found[:3]], -ARRAYS["virial"] / 8
    )


def test_text_arrays_equal_npy(system):
    expected = [structure for _, structure in read_system(system)][:3]
    for part in system.glob("set.*"):
        for file in part.iterdir():
            file.unlink()
        part.rmdir()
    for name, values in ARRAYS.items():
        np.savetxt(system / f"{name}.raw", values, fmt="%.17g")
    for (_, found), structure in zip(read_system(system), expected, strict=True):
        assert found["labels"]["energy"] == structure["labels"]["energy"]
        np.testing.assert_array_equal(found["positions"], structure["positions"])


def test_mixed_types_leave_virtual_atoms_out(system):
    for part in system.glob("set.*"):
        np.save(part / "real_atom_types.npy", np.array([[0, 1], [1, -1], [1, 1]]))
    found = [structure for _, structure in read_system(system)][:3]
    assert [each["atomic_numbers"] for each in found] == [[8, 14], [14], [14, 14]]
    np.testing.assert_array_equal(found[1]["positions"], ARRAYS["coord"][1:2, :3])
    np.testing.assert_array_equal(found[1]["atom_labels"]["forces"], ARRAYS["force"][1:2, :3])


def test_molecule_has_no_cell_and_no_stress(system):
    (system / "nopbc").touch()
    (_, found) = next(read_system(system))
    assert (found["cell"], found["pbc"]) == (None, [False] * 3)
    assert "stress" not in found["labels"]


def test_other_arrays_keep_their_names(system):
    np.save(system / "set.000" / "dipole.npy", np.arange(9).reshape(3, 3))
    np.testing.assert_array_equal(next(read_system(system))[1]["labels"]["dipole"], [0, 1, 2])


def test_missing_files_are_items(system):
    (system / "set.000" / "coord.npy").unlink()
    (system / "set.001" / "box.npy").unlink()
    (_, first), (_, second) = read_system(system)
    assert "there is no coord.npy" in str(first)
    assert "no file 'nopbc'" in str(second)


def test_types_without_elements_are_items(system):
    (system / "type_map.raw").unlink()
    (_, error) = next(read_system(system))
    assert "type_map.raw must name the elements of the types 0 to 1, got 0 symbols" in str(error)


def test_folder_is_recognized(system):
    names = frozenset({"type.raw", "type_map.raw", "README"})
    assert FORMAT.folder(system, names) == {"type.raw", "type_map.raw"}
    assert FORMAT.folder(system / "set.000", frozenset({"coord.npy"})) == frozenset()
