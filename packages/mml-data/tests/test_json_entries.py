import json

import pytest
from mml_data.importers.readers.json_entries import json_entries

FE = {
    "lattice": {"matrix": [[3, 0, 0], [0, 3, 0], [0, 0, 3]]},
    "sites": [{"species": [{"element": "Fe", "occu": 1}]}],
}
ROWS = [{"structure": FE, "e": -1.0}, {"structure": FE, "e": -2.0}]
NAMED = {"mp-1": ROWS[0], "mp-2": ROWS[1]}
SPLIT = {"index": [0, 1], "columns": ["structure", "e"], "data": [[FE, -1.0], [FE, -2.0]]}
COLUMNS = {"e": {"0": -1.0, "1": -2.0}, "structure": {"0": FE, "1": FE}}


def entries(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return list(json_entries(path))


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (ROWS, ["entry 1", "entry 2"]),
        (NAMED, ["mp-1", "mp-2"]),
        ({"mp-1": {"f-1": ROWS[0], "f-2": ROWS[1]}}, ["mp-1:f-1", "mp-1:f-2"]),
        (SPLIT, ["entry 1", "entry 2"]),
        ({key: SPLIT[key] for key in ("data", "columns", "index")}, ["entry 1", "entry 2"]),
        (COLUMNS, ["row 0", "row 1"]),
        ({key: COLUMNS[key] for key in ("structure", "e")}, ["row 0", "row 1"]),
        ({"entries": ROWS}, ["entry 1", "entry 2"]),
        ({"schema": {"fields": []}, "data": ROWS}, ["entry 1", "entry 2"]),
        ("\n".join(map(json.dumps, ROWS)), ["entry 1", "entry 2"]),
        (json.dumps(ROWS[0], indent=1) + "\n" + json.dumps(ROWS[1], indent=1), ["entry 1", "entry 2"]),
        (json.dumps({"@module": "m", **NAMED}), ["mp-1", "mp-2"]),
    ],
    ids=[
        "list",
        "dict",
        "groups",
        "split",
        "data-first",
        "columns",
        "structure-first",
        "entries",
        "table",
        "lines",
        "documents",
        "module",
    ],
)
def test_layouts_give_same_entries(tmp_path, content, names):
    found = entries(tmp_path / "a.json", content)
    assert [name for name, _ in found] == names
    assert [entry for _, entry in found] == ROWS


@pytest.mark.parametrize("single", [ROWS[0], FE, {"e": 1, "data": {"a": [1]}, "structure": FE, "list": [1]}])
def test_single_object_is_one_entry(tmp_path, single):
    assert entries(tmp_path / "a.json", single) == [("entry 1", single)]


def test_dict_of_structures_has_names(tmp_path):
    assert entries(tmp_path / "a.json", {"a": FE, "b": FE}) == [("a", FE), ("b", FE)]


def test_what_is_no_entry_is_reported(tmp_path):
    found = entries(tmp_path / "a.json", {"about": {"x": 1}, **NAMED, "mp-3": {"energy": 1}})
    assert [name for name, _ in found] == ["mp-1", "mp-2", "mp-3", "about"]
    for _, error in found[2:]:
        assert "an entry must have 'sites' or a 'structure', got the keys" in str(error)


def test_row_of_wrong_length_is_reported(tmp_path):
    found = entries(tmp_path / "a.json", {"columns": ["structure", "e"], "data": [[FE, 1], [FE]]})
    assert found[0][1] == {"structure": FE, "e": 1}
    assert "must have 2 values" in str(found[1][1])


@pytest.mark.parametrize("content", [ROWS, NAMED, SPLIT])
def test_entries_before_damage_are_read(tmp_path, content):
    text = json.dumps(content)
    found = entries(
        tmp_path / "a.json", text[: text.rindex("structure" if content is not SPLIT else "sites")]
    )
    assert found[0][1] == ROWS[0]
    assert len(found) == 2
    assert "truncated" in str(found[1][1])
