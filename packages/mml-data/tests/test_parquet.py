import json

import numpy as np
import pytest
from mml_data.importers.readers import parquet
from mml_data.importers.readers.parquet import FORMAT, read_parquet

pyarrow = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
CELL = [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]
LEMAT = {
    "immutable_id": "agm-1",
    "lattice_vectors": CELL,
    "cartesian_site_positions": [[0.0, 0, 0], [2, 2, 2]],
    "species_at_sites": ["Na", "Cl"],
    "species": json.dumps(
        [{"name": name, "chemical_symbols": [name], "concentration": [1.0]} for name in ("Na", "Cl")]
    ),
    "dimension_types": [1, 1, 1],
    "energy": -7.0,
    "forces": [[0.1, 0, 0], [-0.1, 0, 0]],
    "stress_tensor": np.eye(3).tolist(),
    "magnetic_moments": [0.0, 0.1],
    "functional": "pbe",
}
FE = {"lattice": {"matrix": CELL}, "sites": [{"species": [{"element": "Fe", "occu": 1}], "abc": [0.0, 0, 0]}]}


def written(path, rows, **options):
    pq.write_table(pyarrow.Table.from_pylist(rows), path, **options)
    assert FORMAT.matches(path.name, path.read_bytes()[:65536])
    return list(read_parquet(path))


def test_lemat_is_read_batch_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_BATCH", 2)
    rows = [LEMAT | {"energy": float(number), "magnetic_moments": [None, None]} for number in range(5)]
    rows[1] |= {"forces": None, "magnetic_moments": [0.0, 0.1]}
    items = written(tmp_path / "a.parquet", rows, row_group_size=3)
    assert [place.rpartition(":")[2] for place, _ in items] == [f"row {number}" for number in range(1, 6)]
    assert [item["labels"]["energy"] for _, item in items] == [0, 1, 2, 3, 4]
    first, second = items[0][1], items[1][1]
    assert (first["atomic_numbers"], first["sample_id"]) == ([11, 17], "agm-1")
    np.testing.assert_array_equal(first["atom_labels"]["forces"], LEMAT["forces"])
    np.testing.assert_array_equal(second["atom_labels"]["magmom"], [0.0, 0.1])
    assert "forces" not in second["atom_labels"]
    assert "magmom" not in first["atom_labels"]
    assert first["labels"]["stress_tensor"] == np.eye(3).tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_parts_equal_whole_file(tmp_path, monkeypatch, count):
    monkeypatch.setattr(parquet, "_BATCH", 2)
    path = tmp_path / "a.parquet"
    whole = written(path, [LEMAT | {"energy": float(number)} for number in range(11)], row_group_size=3)
    assert [item["extra"]["frame"] for _, item in whole] == list(range(11))
    parts = FORMAT.parts(path, count)
    assert len(parts) == min(count, 4)
    found = [item for part in parts for item in part.read()]
    assert [place for place, _ in found] == [place for place, _ in whole]
    assert [item["labels"] for _, item in found] == [item["labels"] for _, item in whole]
    for part in parts:
        items = [place for place, _ in part.read()]
        assert [[place for place, _ in part.read(start)] for start in range(5)] == [
            items[n:] for n in range(5)
        ]


@pytest.mark.parametrize("structure", [FE, json.dumps(FE)], ids=["struct", "JSON"])
def test_column_of_structures_is_read(tmp_path, structure):
    ((_, first), (_, second)) = written(
        tmp_path / "a.parquet", [{"structure": structure, "gap": x} for x in (1, None)]
    )
    assert first["atomic_numbers"] == [26]
    assert (first["labels"], second["labels"]) == ({"gap": 1}, {})


def test_disordered_row_is_item(tmp_path):
    species = [{"name": "Na", "chemical_symbols": ["Na", "K"], "concentration": [0.5, 0.5]}]
    items = written(tmp_path / "a.parquet", [LEMAT | {"species": json.dumps(species)}, LEMAT])
    assert "'Na' is Na 0.5, K 0.5" in str(items[0][1])
    assert items[1][1]["labels"]["energy"] == -7.0


def test_table_without_structures_is_item(tmp_path):
    ((_, error),) = written(tmp_path / "a.parquet", [{"id": 1, "e": 2}])
    assert "no columns contain structures; the columns are id, e" in str(error)


def test_truncated_file_is_item(tmp_path):
    written(tmp_path / "a.parquet", [LEMAT] * 10)
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    ((_, error),) = read_parquet(tmp_path / "a.parquet")
    assert "the file cannot be read" in str(error)
    (part,) = FORMAT.parts(tmp_path / "a.parquet", 2)
    assert "the file cannot be read" in str(next(part.read())[1])
