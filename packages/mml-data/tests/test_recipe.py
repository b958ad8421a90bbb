import json
import shutil
from pathlib import Path

import pytest
from mml_data import LMDBDataset
from mml_data.convert import import_source
from mml_data.importers.recipe import accepts_recipe, call_text, read_recipe, used_options


def importer(source, dest, *, splits=(0.8, 0.2), seed=0, labels=None, train=None, recipe=None, jobs=1):
    """Return the arguments, as an import function with few options."""
    return {"source": source, "dest": dest, "splits": splits, "seed": seed, "labels": labels, "train": train,
            "jobs": jobs}  # fmt: skip


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        (tmp_path / "sub").mkdir(exist_ok=True)
        (tmp_path / "sub" / "r.yaml").write_text(text)
        return tmp_path / "sub" / "r.yaml"

    return write


def test_options_of_recipe_are_used(tmp_path, recipe):
    path = recipe("seed: 4\nlabels: t.csv\nsource: /data/x.xyz\nsplits: [1, 0]\n")
    call = accepts_recipe(importer)
    got = call(None, "out", recipe=path)
    assert (got["source"], got["seed"], got["splits"]) == ("/data/x.xyz", 4, [1, 0])
    assert got["labels"] == str(tmp_path / "sub" / "t.csv")
    assert call("mine", "out", recipe=path, seed=0)["seed"] == 0
    assert call("mine", "out", recipe=path)["source"] == "mine"
    assert call("mine", "out") == importer("mine", "out")


def test_source_of_call_replaces_files_of_recipe(recipe):
    path = recipe("train: [a.xyz, b.xyz]\nseed: 2\n")
    call = accepts_recipe(importer)
    assert call("mine", "out", recipe=path)["train"] is None
    assert [Path(each).name for each in call(None, "out", recipe=path)["train"]] == ["a.xyz", "b.xyz"]
    assert call(None, "out", recipe=path, train="c.xyz")["train"] == "c.xyz"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 3", r"r\.yaml' contains the unknown option 'sed'; did you mean 'seed'\?"),
        ("zzzz: 3", "unknown option 'zzzz'; the options are source, splits, seed, labels, train"),
        ("jobs: 3", "unknown option 'jobs'"),
        ("- seed", "must map options to values, got list"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_invalid_recipes_raise(recipe, text, message):
    with pytest.raises(ValueError, match=message):
        accepts_recipe(importer)("x", "y", recipe=recipe(text))


def test_missing_recipe_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"r\.yaml' does not exist"):
        read_recipe(tmp_path / "r.yaml", [])


def test_used_options_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = importer(
        "in.xyz", "sets/out", seed=0, labels="/elsewhere/t.csv", train=["a.xyz", "b/c.xyz"], jobs=3
    )
    assert used_options(importer, given, Path("sets/out")) == {
        "source": "../../in.xyz",
        "labels": "t.csv",
        "train": ["../../a.xyz", "../../b/c.xyz"],
    }
    assert used_options(importer, importer(None, "out", splits=[0.8, 0.2]), "out") == {}


def test_call_text_is_source_code():
    given = importer("/data/in.xyz", Path("out"), splits=[0.5, 0.5], train=["/x/a.xyz"], jobs=3)
    assert call_text(importer, given) == (
        "mml_data.convert.importer('in.xyz', 'out', splits=[0.5, 0.5], train=['a.xyz'])"
    )


def test_data_set_is_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [
        {"atomic_numbers": [1], "positions": [[0, 0, 0]], "extra": {"name": f"h{number}"},
         "targets": {"energy": number, "kind": "ab"[number % 2]}}
        for number in range(20)
    ]  # fmt: skip
    Path("in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("gaps.csv").write_text("name,gap\n" + "".join(f"h{number},{number}\n" for number in range(20)))
    options = {
        "labels": "gaps.csv",
        "classes": ["kind"],
        "splits": (0.5, 0.5, 0),
        "seed": 5,
        "targets": {"energy": "energy:2", "kind": "kind", "gap": "gap"},
    }
    first = import_source("in.jsonl", "first", **options)
    assert first.source["recipe"] == {
        "source": "../in.jsonl",
        "labels": "../gaps.csv",
        "classes": ["kind"],
        "splits": [0.5, 0.5, 0],
        "seed": 5,
        "targets": options["targets"],
    }
    again = import_source(None, "again", recipe="first")
    assert (again.splits, again.shards) == (first.splits, first.shards)
    assert LMDBDataset("again").stored(3)["targets"]["gap"] == 3
    assert import_source(None, "third", recipe="first/manifest.json", seed=6).splits != first.splits
    shutil.move("first", "moved")
    content = json.loads(Path("moved/manifest.json").read_text())
    del content["source"]["recipe"]
    Path("moved/manifest.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="data set 'moved' contains no recipe; import it again"):
        import_source(None, "fourth", recipe="moved")
