import numpy as np
import pytest
from mml_data.importers.readers.vasp_xdatcar import FORMAT, read_oszicar, read_xdatcar

ase_io = pytest.importorskip("ase.io")
ase = pytest.importorskip("ase")

OSZICAR = """\
       N       E                     dE             d eps       ncg     rms          rms(c)
DAV:   1     0.3E+01    0.3E+01   -0.1E+02   184   0.1E+02
   1 F= -.79E+01 E0= -.78E+01  d E =-.7E+01  mag=     0.0
       N       E                     dE             d eps       ncg     rms          rms(c)
   2 T=   300. E= -.10E+01 F= -.89E+01 E0= -.88E+01  EK= 0.1E+01 SP= 0.0E+00 SK= 0.0E+00
"""


@pytest.fixture
def trajectory(tmp_path):
    """XDATCAR of ASE with a changing cell."""
    frames = [
        ase.Atoms("Na2Cl", positions=[[0, 0, z], [1, 1, 1], [2, 2, 2.5]], cell=[4, 4.5, 5 + z], pbc=True)
        for z in (0.0, 0.1, 0.2)
    ]
    path = tmp_path / "XDATCAR"
    ase_io.write(path, frames, format="vasp-xdatcar")
    return path, frames


def test_configurations_equal_ase(trajectory):
    path, frames = trajectory
    assert FORMAT.matches("xdatcar", path.read_bytes())
    found = [structure for _, structure in read_xdatcar(path)]
    assert len(found) == 3
    for structure, atoms in zip(found, frames, strict=True):
        assert structure["atomic_numbers"] == atoms.numbers.tolist()
        np.testing.assert_allclose(structure["positions"], atoms.positions, atol=1e-6)
        np.testing.assert_allclose(structure["cell"], atoms.cell, atol=1e-6)
        assert structure["labels"] == {}


def test_energies_are_matched_by_step(trajectory):
    path, _ = trajectory
    (path.parent / "OSZICAR").write_text(OSZICAR)
    energies = read_oszicar(path.parent / "OSZICAR")
    assert energies == {1: {"energy": -7.8, "free_energy": -7.9}, 2: {"energy": -8.8, "free_energy": -8.9}}
    path.write_text(path.read_text().replace("configuration=     1", "configuration=    10"))
    found = [structure["labels"] for _, structure in read_xdatcar(path, energies)]
    assert found == [{}, energies[2], {}]


def test_configurations_before_damage_are_read(trajectory):
    path, _ = trajectory
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    *found, (place, error) = read_xdatcar(path)
    assert len(found) == 2
    assert place.endswith("frame 3")
    assert "ends within a configuration" in str(error)
