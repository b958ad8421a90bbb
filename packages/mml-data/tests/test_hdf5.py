import numpy as np
import pytest
from mml_data.importers.readers.hdf5 import FORMAT, read_hdf5

h5py = pytest.importorskip("h5py")
ase_units = pytest.importorskip("ase.units")
HARTREE, BOHR = ase_units.Hartree, ase_units.Bohr
rng = np.random.default_rng(0)
POSITIONS, ENERGY, FORCE = rng.normal(size=(2, 3, 3)), rng.normal(size=2), rng.normal(size=(2, 3, 3))
Z = np.array([8, 1, 1], dtype=np.int16)


@pytest.fixture
def write(tmp_path):
    def write(groups):
        path = tmp_path / "a.hdf5"
        with h5py.File(path, "w") as file:
            for name, arrays in groups.items():
                group = file.create_group(name)
                for key, value in arrays.items():
                    group[key] = value
        assert FORMAT.matches("a.hdf5", path.read_bytes()[:65536])
        return [structure for _, structure in read_hdf5(path)]

    return write


def test_spice_is_converted(write):
    spice = {"subset": [b"SPICE"], "smiles": [b"O"], "atomic_numbers": Z, "conformations": POSITIONS}
    spice |= {"dft_total_energy": ENERGY, "dft_total_gradient": FORCE, "formation_energy": ENERGY / 2}
    spice |= {"scf_dipole": POSITIONS[:, 0], "mbis_charges": POSITIONS[:, :, :1]}
    found = write({"water": spice, "again": spice})
    assert len(found) == 4
    np.testing.assert_allclose(found[1]["positions"], POSITIONS[1] * BOHR)
    np.testing.assert_allclose(found[1]["labels"]["energy"], ENERGY[1] * HARTREE)
    np.testing.assert_allclose(found[1]["labels"]["formation_energy"], ENERGY[1] / 2 * HARTREE)
    np.testing.assert_allclose(found[1]["atom_labels"]["forces"], -FORCE[1] * HARTREE / BOHR, rtol=1e-6)
    np.testing.assert_allclose(found[1]["labels"]["dipole"], POSITIONS[1, 0] * BOHR)
    assert found[1]["atom_labels"]["mbis_charges"].shape == (3, 1)
    assert found[3]["extra"] == {"subset": "SPICE", "smiles": "O", "molecule": "water"}


def test_ani_1x_keeps_levels_apart(write):
    ani = {"atomic_numbers": Z, "coordinates": POSITIONS, "wb97x_dz.energy": ENERGY, "wb97x_dz.forces": FORCE}
    ani |= {"ccsd(t)_cbs.energy": [np.nan, 1.0], "wb97x_dz.dipole": POSITIONS[:, 0]}
    first, second = write({"H2O1": ani})
    np.testing.assert_array_equal(first["positions"], POSITIONS[0])
    np.testing.assert_allclose(first["labels"]["wb97x_dz.energy"], ENERGY[0] * HARTREE)
    np.testing.assert_allclose(first["atom_labels"]["wb97x_dz.forces"], FORCE[0] * HARTREE)
    assert "ccsd(t)_cbs.energy" not in first["labels"]
    assert second["labels"]["ccsd(t)_cbs.energy"] == pytest.approx(HARTREE)
    np.testing.assert_array_equal(second["labels"]["wb97x_dz.dipole"], POSITIONS[1, 0])


@pytest.mark.parametrize(
    "species", [np.array([b"O", b"H", b"H"]), np.tile(Z, (2, 1))], ids=["ANI-1", "ANI-2x"]
)
def test_ani_is_converted(write, species):
    ani = {"species": species, "coordinates": POSITIONS, "energies": ENERGY, "energiesHE": ENERGY}
    found = write({"gdb11_s01/gdb11_s01-0": ani})
    assert [list(each["atomic_numbers"]) for each in found] == [[8, 1, 1]] * 2
    assert [each["labels"] for each in found] == [
        pytest.approx({"energy": value * HARTREE}) for value in ENERGY
    ]


def test_file_without_molecules_is_item(write):
    (error,) = write({"a": {"x": [1]}})
    assert "no group has 'conformations'" in str(error)


def test_damaged_file_is_item(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 100)
    ((_, error),) = read_hdf5(tmp_path / "a.h5")
    assert "damaged or truncated" in str(error)
