import pickle
from dataclasses import dataclass

import pytest
from mml_data.importers.label_table import LabeledSource, LabelTable


@pytest.fixture
def table(tmp_path):
    def make(text, id_column=None, **options):
        (tmp_path / "labels.csv").write_text(text)
        return LabelTable(tmp_path / "labels.csv", id_column, **options)

    return make


@pytest.mark.parametrize(
    ("row", "structure"),
    [
        ("mat-0", {"extra": {"source": "mat-0.cif"}}),
        ("mat-0.cif", {"extra": {"source": "mat-0.cif"}}),
        ("mat-0", {"extra": {"source": "sub/folder/mat-0.cif.GZ"}}),
        ("mat-0.cif", {"extra": {"source": "folder/mat-0.cif.gz"}}),
        ("folder/mat-0", {"extra": {"source": "folder/mat-0.cif"}}),
        ("run0", {"extra": {"source": "run0/vasprun.xml"}}),
        ("a/run0", {"extra": {"source": "a/run0/OUTCAR"}}),
        ("x", {"sample_id": "x", "extra": {"source": "mat-0.cif"}}),
        ("mp-1", {"labels": {"material_id": "mp-1"}}),
        ("mp-1", {"extra": {"mp_id": "mp-1"}}),
        ("7", {"labels": {"number": 7}}),
    ],
)
def test_row_matches_by_name(table, row, structure):
    assert table(f"number,gap\n{row},1\n", "number").match(structure) == row


def test_relative_path_comes_before_file_name(table):
    found = table("a/x.cif,1\nx.cif,2\n")
    assert found.match({"extra": {"source": "a/x.cif"}}) == "a/x.cif"
    assert found.match({"extra": {"source": "b/x.cif"}}) == "x.cif"
    assert found.match({"extra": {"source": "b/y.cif"}}) is None


def test_labels_are_joined(table):
    found = table("name,gap,energy,kind,word\na,1.5,-2,oxide,x\nb,,,,\n", classes=["kind"])
    structure = {"labels": {"note": "kept"}, "extra": {"source": "a.cif"}}
    assert found.join(structure) == {
        "extra": {"source": "a.cif"},
        "labels": {"note": "kept", "energy": -2, "word": "x"},
        "targets": {"gap": 1.5, "kind": "oxide"},
    }
    assert structure["labels"] == {"note": "kept"}
    for name in ("b", "c"):
        lonely = {"extra": {"source": f"{name}.cif"}}
        assert found.join(lonely) == lonely
    assert found.join({"sample_id": "a"})["targets"] == {"gap": 1.5, "kind": "oxide"}


def test_targets_are_left_to_plan(table):
    found = table("name,gap\na,1.5\n", targets=False)
    assert found.join({"sample_id": "a"}) == {"sample_id": "a", "labels": {"gap": 1.5}}


def test_table_can_be_pickled(table):
    found = pickle.loads(pickle.dumps(table("a,1\n")))
    assert found.join({"sample_id": "a"})["targets"] == {"target": 1}


@pytest.mark.parametrize(
    ("text", "id_column", "message"),
    [
        ("name,gap\na,1\nb,2\na,3\n", None, r"labels\.csv:4: the id 'a' occurs twice, first at .*:2; remove"),
        ("name,gap\n,1\n", None, r"labels\.csv:2: the id in the column 'name' is missing"),
        ("name,gap\na,1\n", "key", r"has no column 'key' \(--id-column\); its columns are name, gap"),
    ],
)
def test_invalid_ids_raise(table, text, id_column, message):
    with pytest.raises(ValueError, match=message):
        table(text, id_column)


def test_label_of_file_and_table_raises(table):
    with pytest.raises(ValueError, match="the label 'gap' is in the file and in the table"):
        table("name,gap\na,1\n").join({"sample_id": "a", "labels": {"gap": 2}})


def test_id_column_is_found_by_name(table):
    assert table("gap,JID\n1,a\n").id_column == "JID"
    assert table("x,gap\na,1\n").id_column == "x"


def test_account_counts_both_sides(table):
    found = table("a,1\nb,2\nc,3\nd,4\n")
    matches = found.account(["a", "a", None], ["f1", "f2", "f3"])
    matches.check()
    first, second, third = matches.warnings()
    assert "1 of 3 structures have no row in" in first
    assert first.endswith("their labels are missing: 'f3'")
    assert second.endswith("labels.csv' match no structure: 'b', 'c', 'd'")
    assert "1 of 4 rows of" in third
    assert not found.account(["a", "b", "c", "d"]).warnings()
    with pytest.raises(
        ValueError, match=r"no row of .* matches a structure; the ids of the table are 'a', 'b', 'c', \.\.\.,"
        " and the structures are 'f1', 'f2'; choose the column",
    ):  # fmt: skip
        found.account([None, None], ["f1", "f2"]).check()


@dataclass(frozen=True)
class Files:
    """Source of structures in files, of which the second cannot be read."""

    units = {"targets.gap": "eV"}  # noqa: RUF012

    def describe(self):
        return {"origin": "files", "passed_over": [{"file": "labels.csv"}, {"file": "other.csv"}]}

    def parts(self, count):
        return [self]

    def read(self, start=0):
        items = [{"sample_id": "a"}, ValueError("bad"), {"sample_id": "b", "labels": {"target": 1}}]
        yield from [(str(number), item) for number, item in enumerate(items)][start:]


def test_source_has_labels(table):
    source = LabeledSource(Files(), table("a,1\nb,2\n"))
    facts = source.describe()
    assert source.units == {"targets.gap": "eV"}
    assert facts["passed_over"] == [{"file": "other.csv"}]
    assert (facts["origin"], facts["label_table"]["file"]) == ("files", "labels.csv")
    assert facts["label_table"]["id_column"] == "id"
    assert len(facts["label_table"]["sha256"]) == 64
    (part,) = source.parts(2)
    (_, first), (_, second), (_, third) = part.read()
    assert first == {"sample_id": "a", "targets": {"target": 1}}
    assert str(second) == "bad"
    assert "is in the file and in the table" in str(third)
    assert [place for place, _ in part.read(2)] == ["2"]
