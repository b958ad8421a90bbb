import numpy as np
import pytest
from mml_data.importers.readers.npz import FORMAT, read_npz

ase_units = pytest.importorskip("ase.units")
KCAL = ase_units.kcal / ase_units.mol
rng = np.random.default_rng(0)
POSITIONS, ENERGY, FORCE = rng.normal(size=(4, 3, 3)), rng.normal(size=4), rng.normal(size=(4, 3, 3))
Z = np.array([8, 1, 1])
RMD17 = {"nuclear_charges": Z, "coords": POSITIONS, "energies": ENERGY, "forces": FORCE}
FILES = {
    "MD17": (
        {"z": Z, "R": POSITIONS, "E": ENERGY[:, None], "F": FORCE, "name": np.array("water")},
        KCAL,
        1.0,
    ),
    "MD17, units": (
        {
            "z": Z,
            "R": POSITIONS,
            "E": ENERGY,
            "F": FORCE,
            "e_unit": np.array("eV"),
            "r_unit": np.array("Bohr"),
        },
        1.0,
        ase_units.Bohr,
    ),
    "rMD17": (RMD17 | {"old_indices": np.arange(4), "old_energies": ENERGY, "old_forces": FORCE}, KCAL, 1.0),
    "NequIP": ({"atomic_numbers": Z, "pos": POSITIONS, "energy": ENERGY, "forces": FORCE}, 1.0, 1.0),
}


@pytest.mark.parametrize(("arrays", "energy", "length"), FILES.values(), ids=FILES)
def test_frames_are_converted(tmp_path, arrays, energy, length):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    assert FORMAT.matches("a.npz", path.read_bytes())
    found = [structure for _, structure in read_npz(path)]
    np.testing.assert_allclose([each["positions"] for each in found], POSITIONS * length)
    np.testing.assert_allclose([each["labels"]["energy"] for each in found], ENERGY * energy)
    np.testing.assert_allclose([each["atom_labels"]["forces"] for each in found], FORCE * energy / length)
    assert all((each["cell"], each["pbc"]) == (None, [False] * 3) for each in found)
    assert all(each["atomic_numbers"].tolist() == [8, 1, 1] for each in found)


def test_cells_are_read(tmp_path):
    cell = np.array([[4.0, 1, 0], [0, 5, 0], [0, 0, 6]])
    np.savez(tmp_path / "a.npz", z=Z, R=POSITIONS, lattice=cell.T)
    np.savez(
        tmp_path / "b.npz",
        atomic_numbers=Z,
        pos=POSITIONS,
        cell=np.tile(cell, (4, 1, 1)),
        pbc=[True, True, False],
    )
    first, second = (next(read_npz(tmp_path / name))[1] for name in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(first["cell"], cell)
    np.testing.assert_array_equal(second["cell"], cell)
    assert (first["pbc"], second["pbc"]) == ([True] * 3, [True, True, False])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": Z}, r"must have the arrays of MD17 .* got none"),
        ({"z": Z, "R": POSITIONS[0]}, r"'R' must be \[M, N, 3\], got \[3, 3\]"),
        (
            {"z": Z, "R": POSITIONS, "e_unit": np.array("furlong")},
            "e_unit must be one of kcal/mol, .* got 'furlong'",
        ),
    ],
)
def test_invalid_archive_is_item(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    ((_, error),) = read_npz(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=message):
        raise error


def test_truncated_archive_is_item(tmp_path):
    np.savez(tmp_path / "a.npz", **RMD17)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-100])
    ((_, error),) = read_npz(tmp_path / "a.npz")
    assert "cannot be read" in str(error)
