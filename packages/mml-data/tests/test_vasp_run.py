import gzip
from pathlib import Path

import pytest
from mml_data.importers.readers.vasp_run import FORMAT, read_run
from mml_data.importers.tree import open_source

CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures"
RUN = {"vasprun.xml", "OUTCAR", "POSCAR", "CONTCAR", "XDATCAR", "OSZICAR", "INCAR"}


@pytest.mark.parametrize(
    ("names", "together"),
    [
        (RUN | {"notes.txt"}, RUN),
        ({"OUTCAR.zst", "POSCAR.gz", "a.cif"}, {"OUTCAR.zst", "POSCAR.gz"}),
        ({"XDATCAR", "OSZICAR", "POSCAR"}, {"XDATCAR", "OSZICAR", "POSCAR"}),
        ({"XDATCAR", "POSCAR"}, set()),
        ({"POSCAR", "CONTCAR"}, set()),
        ({"vasprun.xml.relax1", "OUTCAR.relax1.gz", "b.xml"}, {"vasprun.xml.relax1", "OUTCAR.relax1.gz"}),
        ({"POSCAR_1", "run.OUTCAR", "OUTCAR"}, {"OUTCAR"}),
    ],
)
def test_folder_lists_files_of_run(tmp_path, names, together):
    assert FORMAT.folder(tmp_path, frozenset(names)) == together


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_xml_is_read_before_outcar(tmp_path):
    run = CASES / "10-tree" / "vasp-runs" / "run0"
    places = [place for place, _ in read_run(run)]
    assert places == [f"{run / 'vasprun.xml'}:frame {number}" for number in (1, 2, 3)]


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_calculations_of_a_folder_are_read_once(tmp_path):
    xml, outcar = (
        (CASES / "04-vasp" / "vasprun.xml").read_bytes(),
        (CASES / "04-vasp" / "aimd" / "OUTCAR").read_bytes(),
    )
    (tmp_path / "vasprun.xml.relax1").write_bytes(xml)
    (tmp_path / "OUTCAR.relax1").write_bytes(outcar)
    (tmp_path / "OUTCAR.static").write_bytes(outcar)
    (tmp_path / "OUTCAR.static.gz").write_bytes(gzip.compress(outcar))
    files = [Path(place.partition(":")[0]).name for place, _ in read_run(tmp_path)]
    assert files == ["vasprun.xml.relax1"] * 3 + ["OUTCAR.static"]


def test_trajectory_has_energies(tmp_path):
    header = "NaCl\n 1\n 4 0 0\n 0 4 0\n 0 0 4\n Na Cl\n 1 1\n"
    (tmp_path / "XDATCAR").write_text(header + "Direct configuration=     1\n 0 0 0\n .5 .5 .5\n")
    (tmp_path / "OSZICAR").write_text("   1 F= -.79E+01 E0= -.78E+01  d E =-.7E+01\n")
    ((_, structure),) = read_run(tmp_path)
    assert structure["labels"] == {"energy": -7.8, "free_energy": -7.9}


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_other_files_are_passed_over():
    source = open_source(CASES / "10-tree" / "vasp-runs")
    passed_over = {each["file"]: each["reason"] for each in source.describe()["passed_over"]}
    assert sorted(passed_over) == [
        f"run{n}/{name}" for n in range(4) for name in ("CONTCAR", "OUTCAR", "POSCAR")
    ]
    assert set(passed_over.values()) == {"another file of this VASP run is read"}
    items = [item for part in source.parts(2) for _, item in part.read()]
    assert len(items) == 12
    assert {item["extra"]["source"] for item in items} == {f"run{n}" for n in range(4)}
