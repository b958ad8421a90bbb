import json

import numpy as np
import pytest
from mml_data import LMDBDataset
from mml_data.convert import import_source

core = pytest.importorskip("pymatgen.core")


def test_entries_have_targets(tmp_path):
    structures = [core.Structure(core.Lattice.cubic(3 + index), ["Fe"], [[0, 0, 0]]) for index in range(2)]
    entries = {
        "a": {"structure": structures[0].as_dict(), "energy": 1, "metal": True, "note": "x"},
        "b": {"structure": structures[1].as_dict(), "energy": 2.5, "metal": False, "note": "y"},
    }
    (tmp_path / "entries.json").write_text(json.dumps(entries))
    targets = ["energy", "metal"]
    import_source(tmp_path / "entries.json", tmp_path / "out", splits=(0.5, 0.5, 0), targets=targets)
    sample = LMDBDataset(tmp_path / "out")[1]
    assert (float(sample["targets"]["energy"]), int(sample["targets"]["metal"])) == (2.5, 0)
    assert sample["target_types"] == {"regression": ["energy"], "classification": ["metal"]}
    assert sample["extra"]["note"] == "y"


DISORDERED = core.Structure(core.Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])


BAD = {
    "disorder in a CIF": ("a.cif", DISORDERED.to(fmt="cif"), r"a\.cif: .*a site is occupied by"),
    "no CIF": ("a.cif", "data_x\n_cell_length_a 3\n", r"a\.cif: no block has atoms"),
    "no POSCAR": ("POSCAR", "comment\n1.0\nabc\n", "POSCAR: expected 3 numbers, got 'abc'"),
    "no JSON": ("a.json", "{", r"a\.json' has no supported format; supported are"),
    "no structure in JSON": (
        "a.json",
        "[3]",
        r"a\.json' has no supported format; supported are",
    ),
    "something else in JSON": (
        "a.json",
        '[{"a": 1}]',
        r"a\.json' has no supported format; supported are",
    ),
    "a site without species": (
        "a.json",
        json.dumps({"lattice": {"matrix": np.eye(3).tolist()}, "sites": [{"abc": [0, 0, 0]}]}),
        "a.json:entry 1: the key 'species' is missing",
    ),
    "disorder in JSON": ("a.json", json.dumps(DISORDERED.as_dict()), "a site is occupied by .*0.5"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_file_raises(tmp_path, name):
    file, text, message = BAD[name]
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        import_source(tmp_path / file, tmp_path / "out", splits=(1, 0, 0))
    assert not (tmp_path / "out").exists()
