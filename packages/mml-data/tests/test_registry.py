import json
from pathlib import Path

import pytest
from mml_data.importers.compressed import decompressed_name, is_archive, read_head
from mml_data.importers.registry import find_format, format_named, known_formats

CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures"
SPECIFIC = [each for each in known_formats() if each.name != "ASE"]
CELL = [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
FE = {"lattice": {"matrix": CELL}, "sites": [{"species": [{"element": "Fe", "occu": 1}], "abc": [0, 0, 0]}]}

FILES = {
    "a.xyz": ("extended XYZ", "1\nenergy=1\nH 0 0 0\n"),
    "dsgdb9nsd_000001.xyz": ("QM9 xyz", "1\ngdb 1 2 3\nH 0 0 0 0\n"),
    "a.jsonl": ("JSON lines", '{"atomic_numbers": [1], "positions": [[0, 0, 0]]}\n'),
    "b.jsonl": ("MatPES JSON", json.dumps({"matpes_id": "m", "structure": FE}) + "\n"),
    "a.json": ("pymatgen JSON", json.dumps(FE)),
    "b.json": ("dpdata JSON", '{"@module": "dpdata.system", "@class": "System", "data": {}}'),
    "c.json": ("ASE JSON", '{"1": {"numbers": {"__ndarray__": [[1], "int64", [1]]}}}'),
    "POSCAR": ("POSCAR", "Fe\n1\n4 0 0\n0 4 0\n0 0 4\nFe\n1\nDirect\n0 0 0\n"),
    "XDATCAR": ("VASP XDATCAR", "Fe\n1\n4 0 0\n0 4 0\n0 0 4\nFe\n1\nDirect configuration=     1\n0 0 0\n"),
    "my.xml": ("VASP XML", '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n'),
    "OUTCAR.1": ("VASP OUTCAR", " vasp.6.3.2 27Jun22 complex\n POTCAR:    PAW_PBE Fe 02Aug2007\n"),
    "a.cfg": ("MTP cfg", "BEGIN_CFG\n Size\n 1\n"),
    "a.csv": ("CSV with structures", 'id,cif\n1,"_cell_length_a 4\n"\n'),
    "a.cif": ("CIF", "data_a\n_cell_length_a 4\n"),
}


def matching(name, head):
    return [each.name for each in SPECIFIC if each.matches(name.lower(), head)]


@pytest.mark.parametrize(("name", "expected"), FILES.items(), ids=FILES)
def test_one_format_matches(name, expected):
    head = expected[1].encode()
    assert matching(name, head) == [expected[0]]
    assert find_format(name, head) is format_named(expected[0])


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_one_format_matches_each_case():
    for file in sorted(file for file in CASES.rglob("*") if file.is_file() and not is_archive(file)):
        head = read_head(file)
        if head.strip() and file.name != "id_prop.csv":
            found = matching(decompressed_name(file.name), head)
            expected = 0 if file.suffix == ".traj" else 1
            assert len(found) == expected, (str(file.relative_to(CASES)), found)


def test_names_are_unique():
    names = [each.name.lower() for each in known_formats()]
    assert len(names) == len(set(names))
    assert all(each.files and each.labels for each in known_formats())
