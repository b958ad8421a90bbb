import gzip
from pathlib import Path

import numpy as np
import pytest
from mml_data.importers.readers.vasp_xml import FORMAT, read_vasprun

ase_io = pytest.importorskip("ase.io")
CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures" / "04-vasp"


def rows(values):
    return "".join(f"<v> {' '.join(map(str, row))} </v>" for row in values)


def step(energy, cell, coords, force, stress, electronic=2):
    scf = (
        f'<energy><i name="e_fr_energy">{energy + 0.5}</i><i name="e_wo_entrp">{energy + 0.7}</i>'
        f'<i name="e_0_energy">{energy + 0.6}</i></energy>'
    )
    return (
        "<calculation>"
        + f"<scstep>{scf}</scstep>" * electronic
        + f'<structure><crystal><varray name="basis">{rows(cell)}</varray></crystal>'
        f'<varray name="positions">{rows(coords)}</varray></structure>'
        f'<varray name="forces">{rows(force)}</varray><varray name="stress">{rows(stress)}</varray>'
        f'<energy><i name="e_fr_energy">{energy}</i><i name="e_0_energy">9</i></energy>'
        "<dos><i name='efermi'>1</i></dos></calculation>"
    )


def document(steps, selective="", nelm=5, pstress=0.0):
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><modeling>'
        '<kpoints><varray name="kpointlist"><v>0 0 0</v></varray>'
        '<varray name="weights"><v>1</v></varray></kpoints>'
        f'<parameters><i type="int" name="NELM">{nelm}</i><i name="PSTRESS">{pstress}</i></parameters>'
        "<atominfo><array name='atoms'><set><rc><c>r </c><c>1</c></rc>"
        "<rc><c>O </c><c>2</c></rc></set></array></atominfo>"
        '<structure name="initialpos"><crystal>'
        '<varray name="basis"><v>4 0 0</v><v>0 4 0</v><v>0 0 4</v></varray>'
        f'</crystal><varray name="positions"><v>0 0 0</v><v>0 0 0</v></varray>{selective}</structure>'
        + "".join(steps)
        + "</modeling>"
    )


CELL = [[4.0, 0.5, 0.0], [0.0, 4.5, 0.2], [0.0, 0.0, 5.0]]
STRESS = [[10, 1, 2], [1, 20, 3], [2, 3, 30]]
FORCE = [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
STEPS = [step(-10.0 - number, CELL, [[0, 0, 0], [0.5, 0.5, 0.5]], FORCE, STRESS) for number in range(3)]


@pytest.mark.parametrize("pstress", [0.0, 25.0])
def test_labels_equal_ase(tmp_path, pstress):
    path = tmp_path / "vasprun.xml"
    path.write_text(document(STEPS, pstress=pstress).replace("<c>r </c>", "<c>Zr</c>"))
    assert FORMAT.matches("vasprun.xml", path.read_bytes())
    oracle = ase_io.read(path, ":", format="vasp-xml")
    found = [structure for _, structure in read_vasprun(path)]
    assert len(found) == len(oracle) == 3
    for structure, atoms in zip(found, oracle, strict=True):
        labels = structure["labels"]
        assert structure["atomic_numbers"] == atoms.numbers.tolist()
        np.testing.assert_allclose(structure["positions"], atoms.positions, atol=1e-12)
        np.testing.assert_allclose(structure["atom_labels"]["forces"], atoms.get_forces())
        np.testing.assert_allclose(labels["stress"], atoms.get_stress(voigt=False), rtol=1e-7)
        np.testing.assert_allclose(labels["energy"], atoms.get_potential_energy(), rtol=1e-7)
        np.testing.assert_allclose(labels["free_energy"], atoms.calc.results["free_energy"], rtol=1e-7)


def test_cut_symbol_is_completed(tmp_path):
    (tmp_path / "vasprun.xml").write_text(document(STEPS[:1]))
    ((place, structure),) = read_vasprun(tmp_path / "vasprun.xml")
    assert structure["atomic_numbers"] == [40, 8]
    assert place == f"{tmp_path / 'vasprun.xml'}:frame 1"


@pytest.mark.parametrize(("electronic", "converged"), [(4, True), (5, False)])
def test_step_with_all_electronic_steps_is_not_converged(tmp_path, electronic, converged):
    steps = [step(-1.0, CELL, [[0, 0, 0], [0.5, 0.5, 0.5]], FORCE, STRESS, electronic)]
    (tmp_path / "vasprun.xml").write_text(document(steps))
    ((_, structure),) = read_vasprun(tmp_path / "vasprun.xml")
    assert structure["extra"] == {"electronic_steps": electronic, "converged": converged}


def test_step_of_force_field_warns(tmp_path):
    steps = [step(-1.0, CELL, [[0, 0, 0], [0.5, 0.5, 0.5]], FORCE, STRESS, 0)]
    (tmp_path / "vasprun.xml").write_text(document(steps))
    ((_, structure),) = read_vasprun(tmp_path / "vasprun.xml")
    assert "force field" in structure["warnings"][0]
    assert structure["labels"]["energy"] == -1.0


def test_selective_dynamics_gives_fixed_atoms(tmp_path):
    selective = '<varray name="selective"><v>F F F</v><v>T T F</v></varray>'
    (tmp_path / "vasprun.xml").write_text(document(STEPS[:1], selective))
    ((_, structure),) = read_vasprun(tmp_path / "vasprun.xml")
    np.testing.assert_array_equal(structure["atom_labels"]["fixed"], [True, False])
    np.testing.assert_array_equal(structure["extra"]["fixed_directions"][1], [False, False, True])


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.7, 0.9])
def test_steps_before_damage_are_read(tmp_path, keep):
    text = document(STEPS)
    (tmp_path / "vasprun.xml").write_text(text[: int(len(text) * keep)])
    *steps, (place, error) = read_vasprun(tmp_path / "vasprun.xml")
    assert len(steps) == text[: int(len(text) * keep)].count("</calculation>")
    assert place.endswith(f"frame {len(steps) + 1}")
    assert "damaged or truncated" in str(error)


def test_step_without_positions_is_item(tmp_path):
    steps = [STEPS[0].replace('"positions"', '"other"'), STEPS[1]]
    (tmp_path / "vasprun.xml").write_text(document(steps))
    (_, error), (_, structure) = read_vasprun(tmp_path / "vasprun.xml")
    assert "positions" in str(error)
    assert structure["labels"]["free_energy"] == -11.0


def test_truncated_compressed_file_is_item(tmp_path):
    content = gzip.compress(document(STEPS).encode())
    (tmp_path / "vasprun.xml.gz").write_bytes(content[:-30])
    *_, (_, error) = read_vasprun(tmp_path / "vasprun.xml.gz")
    assert "damaged or truncated" in str(error)


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
@pytest.mark.parametrize(
    ("file", "frames", "errors"),
    [("vasprun.xml", 3, 0), ("mine.xml", 3, 0), ("vasprun.xml.gz", 3, 0), ("vasprun-truncated.xml", 2, 1)],
)
def test_cases_are_read(file, frames, errors):
    items = [item for _, item in read_vasprun(CASES / file)]
    assert [isinstance(item, Exception) for item in items] == [False] * frames + [True] * errors
    assert [item["labels"]["energy"] for item in items[:frames]] == pytest.approx(
        [-7.02, -7.12, -7.22][:frames]
    )
    np.testing.assert_allclose(
        items[0]["labels"]["stress"], -np.array([[1, 0.1, 0], [0.1, 2, 0], [0, 0, 3]]) / 100, atol=1e-8
    )
