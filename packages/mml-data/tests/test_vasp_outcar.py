from pathlib import Path

import numpy as np
import pytest
from mml_data.importers.readers.vasp_outcar import FORMAT, read_outcar

ase_io = pytest.importorskip("ase.io")
CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures" / "04-vasp" / "aimd"

HEADER = """\
 vasp.6.3.2 27Jun22 (build) complex
 INCAR:
 POTCAR:    PAW_PBE Fe_pv 02Aug2007
 POTCAR:    PAW_PBE O 08Apr2002
 POTCAR:    PAW_PBE Fe_pv 02Aug2007
 POTCAR:    PAW_PBE O 08Apr2002
   ions per type =               1   1
   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=      8
 k-points in reciprocal lattice and weights: Gamma
   0.00000000  0.00000000  0.00000000       1.000
   ISPIN  =      2    spin polarized calculation?
   NELM   =      3;   NELMIN=  2; NELMDL= -5     # of ELM steps
      direct lattice vectors                 reciprocal lattice vectors
     9.000000000  0.000000000  0.000000000     0.250000000  0.000000000  0.000000000
     0.000000000  9.000000000  0.000000000     0.000000000  0.250000000  0.000000000
     0.000000000  0.000000000  9.000000000     0.000000000  0.000000000  0.250000000
"""


def ionic_step(
    number, electronic=2, reached=True, energy=-10.0, stress="10.0 20.0 30.0 4.0 -5.0 6.0", cell=4.0
):
    iterations = "".join(
        f"--------------------- Iteration {number:4d}({each:4d})  ---------------------\n"
        "  free energy    TOTEN  =      1641.32956354 eV\n"
        for each in range(1, electronic + 1)
    )
    message = (
        "aborting loop because EDIFF is reached"
        if reached
        else "aborting loop EDIFF was not reached (unconverged)"
    )
    return f"""{iterations}
------------------------ {message} ----------------------------------------
 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
    1       -0.004  -0.001   2.100   2.095
    2        0.000   0.000   0.010   0.010
--------------------------------------------------
tot         -0.004  -0.001   2.110   2.105

  in kB  {stress}
  external pressure =       20.00 kB  Pullay stress =        0.00 kB
 VOLUME and BASIS-vectors are now :
      direct lattice vectors                 reciprocal lattice vectors
     {cell:.9f}  0.000000000  0.000000000     0.250000000  0.000000000  0.000000000
     0.000000000  {cell:.9f} -0.500000000     0.000000000  0.250000000  0.000000000
     0.000000000  0.000000000  {cell:.9f}     0.000000000  0.000000000  0.250000000
 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.00000      0.00000      0.00000         0.100000      0.200000     -0.300000
      2.00000      1.99999-1000.00000        -0.100000     -0.200000      0.300000
 -----------------------------------------------------------------------------------
    total drift:                                0.000000      0.000000      0.000000
  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =       {energy:.8f} eV

  energy  without entropy=      -10.20000000  energy(sigma->0) =      {energy - 0.1:.8f}
"""


def written(folder, *steps, end=" General timing and accounting informations for this job:\n"):
    path = folder / "OUTCAR"
    path.write_text(HEADER + "".join(steps) + end)
    return path


def test_labels_equal_ase(tmp_path):
    path = written(tmp_path, ionic_step(1), ionic_step(2, 3, energy=-11.0, cell=4.1))
    assert FORMAT.matches("outcar", path.read_bytes())
    oracle = ase_io.read(path, ":", format="vasp-out")
    found = [structure for _, structure in read_outcar(path)]
    assert len(found) == len(oracle) == 2
    for structure, atoms in zip(found, oracle, strict=True):
        assert structure["atomic_numbers"] == atoms.numbers.tolist() == [26, 8]
        np.testing.assert_array_equal(structure["cell"], atoms.cell)
        np.testing.assert_array_equal(structure["positions"], atoms.positions)
        np.testing.assert_array_equal(structure["atom_labels"]["forces"], atoms.get_forces())
        np.testing.assert_array_equal(structure["atom_labels"]["magmom"], atoms.get_magnetic_moments())
        np.testing.assert_allclose(structure["labels"]["stress"], atoms.get_stress(voigt=False), rtol=1e-7)
        assert structure["labels"]["energy"] == atoms.get_potential_energy()
        assert structure["labels"]["free_energy"] == atoms.calc.results["free_energy"]


@pytest.mark.parametrize(
    ("electronic", "reached", "converged"),
    [(2, True, True), (3, True, True), (3, False, False), (2, False, True)],
)
def test_convergence_is_marked(tmp_path, electronic, reached, converged):
    steps = written(tmp_path, ionic_step(1), ionic_step(2, electronic, reached))
    (_, first), (_, second) = read_outcar(steps)
    assert first["extra"] == {"electronic_steps": 2, "converged": True}
    assert second["extra"] == {"electronic_steps": electronic, "converged": converged}


@pytest.mark.parametrize("lines", range(1, 33))
def test_steps_before_damage_are_read(tmp_path, lines):
    """Every truncation within the second step gives the first step and an error."""
    second = "".join(ionic_step(2).splitlines(keepends=True)[:lines])
    complete = lines >= len(ionic_step(2).splitlines())
    items = [item for _, item in read_outcar(written(tmp_path, ionic_step(1), second, end=""))]
    assert len(items) == 2
    assert isinstance(items[1], Exception) != complete
    assert items[0]["labels"]["free_energy"] == -10.0


def test_file_without_steps_is_item(tmp_path):
    ((_, error),) = read_outcar(written(tmp_path))
    assert "there is no electronic step" in str(error)


def test_overflowing_stress_warns(tmp_path):
    ((_, structure),) = read_outcar(written(tmp_path, ionic_step(1, stress="****** 20.0 30.0 4.0 -5.0 6.0")))
    assert "stress" not in structure["labels"]
    assert "the stress cannot be read: in kB ******" in structure["warnings"][0]


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
@pytest.mark.parametrize("file", ["OUTCAR", "OUTCAR.gz", "OUTCAR.static", "run.OUTCAR"])
def test_cases_are_read(file):
    ((_, structure),) = read_outcar(CASES / file)
    atoms = ase_io.read(CASES / "OUTCAR", format="vasp-out")
    np.testing.assert_array_equal(structure["atom_labels"]["forces"], atoms.get_forces())
    np.testing.assert_allclose(structure["labels"]["stress"], atoms.get_stress(voigt=False), rtol=1e-7)
    assert structure["labels"]["energy"] == atoms.get_potential_energy()
    assert structure["extra"] == {"electronic_steps": 63, "converged": True}
