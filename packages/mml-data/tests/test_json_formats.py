import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from mml_data.importers.readers.json_formats import FORMATS, read_json

CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures" / "05-json"
CELL = [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]
SALT = {
    "@module": "pymatgen.core.structure",
    "lattice": {"matrix": CELL},
    "sites": [
        {"species": [{"element": symbol, "occu": 1}], "abc": [x, x, x], "properties": {}}
        for symbol, x in (("Na", 0.0), ("Cl", 0.5))
    ],
}
FORCE = [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
MPTRJ = {"structure": SALT, "corrected_total_energy": -7.2, "force": FORCE, "mp_id": "mp-1"}
JARVIS = {"jid": "J-1", "atoms": {"lattice_mat": CELL, "coords": [[0, 0, 0]], "elements": ["Fe"]}}
ENTRY = {"@class": "ComputedStructureEntry", "energy": -7.0, "correction": 0.0, "structure": SALT}
OPTIMADE = {"lattice_vectors": CELL, "cartesian_site_positions": [[0, 0, 0]], "species_at_sites": ["Fe"]}
DIALECTS = {
    "MPtrj JSON": {"mp-1": {"mp-1-0": MPTRJ}},
    "MatPES JSON": [{"matpes_id": "matpes-1", "structure": SALT, "energy": -7.0}],
    "JARVIS JSON": [JARVIS],
    "mlearn JSON": [{"structure": SALT, "outputs": {"energy": -7.0}}],
    "ComputedStructureEntry JSON": [ENTRY],
    "OPTIMADE JSON": {"data": [{"id": "1", "attributes": OPTIMADE}], "meta": {}},
    "pandas JSON": {"columns": ["structure", "e"], "index": [0], "data": [[SALT, 1]]},
    "pymatgen JSON": SALT,
}


def matching(name, head):
    return [each.name for each in FORMATS if each.matches(name, head)]


@pytest.mark.parametrize(("name", "content"), DIALECTS.items(), ids=DIALECTS)
def test_one_format_matches(tmp_path, name, content):
    text = json.dumps(content)
    (tmp_path / "a.json").write_text(text)
    assert matching("a.json", text.encode()) == [name]
    ((place, structure),) = read_json(tmp_path / "a.json")
    assert place.startswith(f"{tmp_path / 'a.json'}:")
    assert len(structure["atomic_numbers"]) in (1, 2)


@pytest.mark.parametrize(
    "head", [b"", b"[1, 2]", b'{"a": 1}', b"data_x", b'{"1": {"numbers": {"__ndarray__": 1}}}']
)
def test_other_content_matches_nothing(head):
    assert matching("a.json", head) == []


def test_dialect_is_recognized_entry_by_entry(tmp_path):
    """The head of the file does not show what the later entries are."""
    (tmp_path / "a.json").write_text(json.dumps([{"structure": SALT, "e": 1}, MPTRJ]))
    first, second = (structure for _, structure in read_json(tmp_path / "a.json"))
    assert first["labels"] == {"e": 1}
    assert second["atom_labels"]["forces"] == FORCE


def test_unreadable_structure_is_item(tmp_path):
    mixed = {**SALT, "sites": [{"species": [{"element": "Na", "occu": 0.5}], "abc": [0, 0, 0]}]}
    (tmp_path / "a.json").write_text(json.dumps([{"structure": mixed, "e": 1}, {"structure": SALT, "e": 2}]))
    (place, error), (_, structure) = read_json(tmp_path / "a.json")
    assert place.endswith("a.json:entry 1")
    assert "occupied by Na 0.5" in str(error)
    assert structure["labels"] == {"e": 2}


# File: format, and the label of each structure (None is missing).
EXPECTED = {
    "MPtrj_mini.json": ("MPtrj JSON", "corrected_total_energy", [-7.2, -7.3, -6.2]),
    "cse.json": ("ComputedStructureEntry JSON", "corrected_energy", [-7.5]),
    "df-columns.json": ("pymatgen JSON", "e_form", [-1.0, -1.1]),
    "df-records.json": ("pymatgen JSON", "e_form", [-1.0, -1.1]),
    "entries-na.json": ("pymatgen JSON", "band_gap", [5.1, None, None]),
    "gap-na-first.json": ("pymatgen JSON", "gap", [None, 1.0, 2.0, None, 4.0, 5.0, None, 7.0]),
    "jarvis_dft_3d.json": ("JARVIS JSON", "optb88vdw_bandgap", [5.0, None]),
    "lines.json": ("MatPES JSON", "energy", [-7.0, -7.1]),
    "magmom.json": ("pymatgen JSON", "energy", [-7.0, -8.0, -9.0, -10.0, -11.0, -12.0, -13.0, -14.0]),
    "matbench_mp_gap.json.gz": ("pandas JSON", "gap pbe", [5.1, 5.0, 4.1]),
    "matpes-nostress.json": ("MatPES JSON", "energy", [-7.0, -7.1] * 10),
    "matpes.json": ("MatPES JSON", "energy", [-7.0, -7.1]),
    "siteprops.json": ("pymatgen JSON", "e", [-1.0]),
}


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
@pytest.mark.parametrize(("file", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_cases_are_read(tmp_path, file, expected):
    content = (CASES / file).read_bytes()
    path = tmp_path / file.removesuffix(".gz")
    path.write_bytes(gzip.decompress(content) if file.endswith(".gz") else content)
    name, label, values = expected
    assert matching(path.name.lower(), path.read_bytes()[:65536]) == [name]
    structures = [structure for _, structure in read_json(path)]
    assert [structure["labels"].get(label) for structure in structures] == values
    assert all(np.linalg.det(structure["cell"]) > 60 for structure in structures)


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_site_properties_of_cases_are_atom_labels():
    ((_, structure),) = read_json(CASES / "siteprops.json")
    np.testing.assert_array_equal(structure["atom_labels"]["final_magmom"], [[1.0], [0.2]])
    np.testing.assert_array_equal(structure["atom_labels"]["coordination"], [6, 6])
    assert structure["extra"] == {"label2": ["a", "b"]}


def test_two_stages_of_relaxation_are_ambiguous(tmp_path):
    entry = {"initial_structure": SALT, "final_structure": SALT, "e": 1}
    (tmp_path / "a.json").write_text(json.dumps([entry, entry | {"structure": SALT}]))
    (_, error), (_, structure) = read_json(tmp_path / "a.json")
    assert "'final_structure' and 'initial_structure' could each be the structure" in str(error)
    assert structure["labels"] == {"e": 1}
