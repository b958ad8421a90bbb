import csv
import json

import pytest
from mml_data.importers.readers.csv_structures import FORMAT, read_csv

pytest.importorskip("pandas")
core = pytest.importorskip("pymatgen.core")
SALT = core.Structure(core.Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def written(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert FORMAT.matches(path.name, path.read_bytes()[:65536])
    return list(read_csv(path))


@pytest.mark.parametrize(
    ("column", "text"),
    [("cif", SALT.to(fmt="cif")), ("structure", json.dumps(SALT.as_dict()))],
    ids=["CIF", "pymatgen JSON"],
)
def test_structures_have_labels(tmp_path, column, text):
    rows = [
        {"": 0, "material_id": "mp-1", column: text, "gap": "1.5", "metal": "True", "n": "2", "note": "a"}
    ]
    rows.append(rows[0] | {"material_id": "mp-2", "gap": ""})
    ((place, first), (_, second)) = written(tmp_path / "a.csv", rows)
    assert place == f"{tmp_path / 'a.csv'}:row 1"
    assert sorted(first["atomic_numbers"]) == [11, 17]
    assert first["labels"] == {"material_id": "mp-1", "gap": 1.5, "metal": True, "n": 2, "note": "a"}
    assert "gap" not in second["labels"]
    assert second["sample_id"] == "mp-2"


def test_unreadable_structure_is_item(tmp_path):
    text = SALT.to(fmt="cif")
    items = written(tmp_path / "a.csv", [{"cif": text, "e": 1}, {"cif": "nothing", "e": 2}])
    assert items[0][1]["labels"] == {"e": 1}
    assert isinstance(items[1][1], ValueError)


@pytest.mark.parametrize("content", ["id,target\na,1\n", "cif_id,cif\na,b\n", "", "structure,e\n1,2\n"])
def test_table_of_labels_does_not_match(content):
    assert not FORMAT.matches("id_prop.csv", content.encode())
