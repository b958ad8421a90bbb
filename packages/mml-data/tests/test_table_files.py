import gzip
import json

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.importers.table_files import read_table


def read(tmp_path, text, name="labels.csv", **options):
    (tmp_path / name).write_text(text, encoding="utf-8")
    table = read_table(tmp_path / name, **options)
    return table.columns, [row for _, row in table.rows]


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("a,1.5\nb,-2\n", ("id", "target"), [("a", 1.5), ("b", -2.0)]),
        ("0012,1,2\n12,3,4", ("id", "target_1", "target_2"), [("0012", 1, 2), ("12", 3, 4)]),
        ("\ufeffname,gap\r\nx y.cif,0.1\r\n", ("name", "gap"), [("x y.cif", 0.1)]),
        ("name;gap;note\na;;n/a\n\nb;2;x", ("name", "gap", "note"), [("a", None, None), ("b", 2, "x")]),
        ("file\tmetal\na\ttrue\nb\tFalse\nc\t", ("file", "metal"), [("a", True), ("b", False), ("c", None)]),
        ("a,metal\nb,oxide", ("id", "target"), [("a", "metal"), ("b", "oxide")]),
        ("id,kind\nb,oxide", ("id", "kind"), [("b", "oxide")]),
        ('name,"gap, eV"\n"a,b",1', ("name", "gap, eV"), [("a,b", 1)]),
        ("name,x\na,1\nb,two", ("name", "x"), [("a", "1"), ("b", "two")]),
    ],
)
def test_text_is_read(tmp_path, text, columns, rows):
    assert read(tmp_path, text) == (columns, rows)


def test_named_column_makes_header(tmp_path):
    assert read(tmp_path, "2024,1999\na,1", id_column="2024") == (("2024", "1999"), [("a", 1)])


ROWS = [{"id": "a", "gap": 1.0}, {"id": "b", "gap": None}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.json", json.dumps(ROWS)),
        ("t.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("t.json", json.dumps({"a": {"gap": 1.0}, "b": {"gap": None}})),
        *[("t.json", pandas.DataFrame(ROWS).to_json(orient=orient)) for orient in ("columns", "split")],
        ("t.json", pandas.DataFrame(ROWS).to_json(orient="records")),
    ],
)
def test_json_is_read(tmp_path, name, content):
    assert read(tmp_path, content, name) == (("id", "gap"), [("a", 1.0), ("b", None)])


def test_values_by_id_are_read(tmp_path):
    assert read(tmp_path, '{"a": 1, "b": 2.5}', "t.json") == (("id", "target"), [("a", 1), ("b", 2.5)])


def test_parquet_is_read(tmp_path):
    pytest.importorskip("pyarrow")
    pandas.DataFrame(ROWS).to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert (table.columns, [row for _, row in table.rows]) == (("id", "gap"), [("a", 1.0), ("b", None)])


def test_gzip_is_read(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,1\nb,2\n"))
    assert [row for _, row in read_table(tmp_path / "t.csv.gz").rows] == [("a", 1), ("b", 2)]


@given(values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_numbers_keep_their_value(tmp_path_factory, values):
    text = "".join(f"row-{number},{value!r}\n" for number, value in enumerate(values))
    _, rows = read(tmp_path_factory.mktemp("table"), text)
    assert [row[1] for row in rows] == values


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "a\nb\n", r"t\.csv:1: a table must have a column of ids and a column of labels"),
        ("t.csv", "a,1\nb,1,2\n", r"t\.csv:2: the line has 3 cells, but the first line has 2"),
        ("t.csv", "id,gap,gap\na,1,2\n", "has several columns with the name 'gap'"),
        ("t.csv", "id,gap\n", "has no rows|t.csv"),
        ("t.xls", "x", "has no supported format; supported are CSV"),
        ("t.json", "{", "is not valid JSON"),
        ("t.json", "[1, 2]", "must contain a list of objects"),
        ("t.json", '[{"id": 1}]', "only 'id'"),
        ("t.parquet", "x", "cannot be read"),
    ],
)
def test_invalid_tables_raise(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text, name)


def test_missing_and_binary_files_raise(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"t\.csv' does not exist"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"a,\xff\n")
    with pytest.raises(ValueError, match=r"t\.csv' cannot be read"):
        read_table(tmp_path / "t.csv")
