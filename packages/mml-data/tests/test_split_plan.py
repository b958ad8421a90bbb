import json
from pathlib import Path

import numpy as np
import pytest
from mml_data import LMDBDataset
from mml_data.convert import import_source
from mml_data.importers.split_plan import SplitPlan, Written
from mml_data.split_rules import SplitRules

CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures" / "10-tree"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")


def write(path, energies, **extra):
    """Write structures of one hydrogen atom as JSON lines, each with one of the energies."""
    path.parent.mkdir(exist_ok=True)
    lines = [
        {"atomic_numbers": [1], "positions": [[0, 0, 0]], "targets": {"energy": energy}}
        | ({"extra": extra} if extra else {})
        for energy in energies
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def energies(path):
    """Return the energies of each split."""
    dataset = LMDBDataset(path)
    return {
        name: [dataset.stored(int(index))["targets"]["energy"] for index in dataset.split_indices(name)]
        for name in dataset.splits
    }


@pytest.fixture
def runs(tmp_path):
    """Twelve files, each with five frames whose energies are near the number of the file."""
    for number in range(12):
        write(tmp_path / "runs" / f"run{number:02d}.jsonl", [number + 0.1 * frame for frame in range(5)])
    return tmp_path / "runs"


def files_of(values):
    return {int(value) for value in values}


@pytest.mark.parametrize("jobs", [1, 2])
def test_frames_of_files_stay_together(tmp_path, runs, jobs):
    manifest = import_source(runs, tmp_path / "out", jobs=jobs)
    splits = energies(tmp_path / "out")
    assert {name: len(part) for name, part in splits.items()} == {"train": 50, "val": 5, "test": 5}
    assert not files_of(splits["train"]) & (files_of(splits["val"]) | files_of(splits["test"]))
    assert manifest.source["split"]["group_by"] == "extra.source"
    (note,) = (note for note in manifest.source["account"]["notes"] if "same split" in note)
    assert note.startswith("frames with the same extra.source (12 values) are in the same split; --split-by")


def test_frames_can_be_split(tmp_path, runs):
    import_source(runs, tmp_path / "out", split_by="frame")
    splits = energies(tmp_path / "out")
    assert files_of(splits["train"]) & (files_of(splits["val"]) | files_of(splits["test"]))


def test_function_is_a_criterion(tmp_path, runs):
    options = {"split_by": lambda sample: str(sample["targets"]["energy"] < 6), "splits": (0.5, 0.5, 0)}
    import_source(runs, tmp_path / "out", jobs=2, **options)
    splits = energies(tmp_path / "out")
    assert sorted(len(files_of(part)) for part in splits.values()) == [6, 6]


def test_folds_are_drawn(tmp_path, runs):
    tested = []
    for fold in range(4):
        import_source(runs, tmp_path / str(fold), folds=4, fold=fold)
        splits = energies(tmp_path / str(fold))
        assert not files_of(splits["train"]) & files_of(splits["test"])
        tested += splits["test"]
    assert len(tested) == len(set(tested)) == 60


def test_few_files_raise_and_resume(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "runs" / f"{name}.jsonl", range(5))
    with pytest.raises(
        ValueError, match=r"3 splits require at least 3 groups, but the samples have only 2: 'a\.jsonl', .*; "
        r"frames with the same extra\.source stay together, .*--split-by frame.*kept 10 structure",
    ):  # fmt: skip
        import_source(tmp_path / "runs", tmp_path / "out")
    import_source(tmp_path / "runs", tmp_path / "out", split_by="frame", resume=True)
    assert {name: len(part) for name, part in energies(tmp_path / "out").items()} == {
        "train": 8,
        "val": 1,
        "test": 1,
    }


def test_trajectory_is_noted_and_split_in_blocks(tmp_path):
    source = write(tmp_path / "md.jsonl", range(100))
    manifest = import_source(source, tmp_path / "out")
    assert any("--split-by block" in note for note in manifest.source["account"]["notes"])
    manifest = import_source(source, tmp_path / "blocks", split_by="block")
    assert manifest.source["split"]["group_by"] == "block"
    splits = energies(tmp_path / "blocks")
    blocks = {name: {int(value) // 5 for value in part} for name, part in splits.items()}
    assert not blocks["train"] & blocks["test"]
    assert sum(map(len, blocks.values())) == 20


def test_test_set_is_imported(tmp_path, runs):
    manifest = import_source(runs, tmp_path / "out", splits=(0, 0, 1))
    assert {name: entry.count for name, entry in manifest.splits.items()} == {"test": 60}


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_of_splits_are_imported(tmp_path, jobs):
    train = [write(tmp_path / "train" / f"{name}.jsonl", range(start, start + 4)) for name, start in
             (("a", 0), ("b", 10))]  # fmt: skip
    valid = write(tmp_path / "valid" / "a.jsonl", range(20, 23))
    test = write(tmp_path / "test" / "a.jsonl", range(30, 35))
    manifest = import_source(None, tmp_path / "out", train=train, valid=valid, test=test.parent, jobs=jobs)
    assert energies(tmp_path / "out") == {
        "train": [0, 1, 2, 3, 10, 11, 12, 13],
        "val": [20, 21, 22],
        "test": [30, 31, 32, 33, 34],
    }
    assert [each["split"] for each in manifest.source["sources"]] == ["train", "train", "val", "test"]
    assert manifest.source["account"]["files"] == 4
    sources = [sample["extra"]["source"] for sample in map(LMDBDataset(tmp_path / "out").stored, range(16))]
    assert list(dict.fromkeys(sources)) == [
        "train/a.jsonl",
        "train/b.jsonl",
        "valid/a.jsonl",
        "test/a.jsonl",
    ]


def test_split_without_structures_raises(tmp_path):
    train, valid = write(tmp_path / "a.jsonl", range(4)), write(tmp_path / "b.jsonl", range(3))
    valid.write_text(valid.read_text().replace("[[0, 0, 0]]", "[[0, 0]]"))
    with pytest.raises(ValueError, match="the files of the split 'val' contain no structure that can be"):
        import_source(None, tmp_path / "out", train=train, valid=valid, on_error="skip")


def test_drawing_needs_no_records_of_empty_shards(tmp_path):
    plan = SplitPlan(SplitRules({"train": 0.5, "val": 0.5}), "block")
    written = Written([tmp_path / "none.lmdb", tmp_path / "empty.lmdb"], [0, 6], None, map)
    splits = plan.draw(written)
    assert np.concatenate(list(splits.values())).size == 6


@pytest.fixture
def folder(tmp_path):
    for number in range(5):
        write(tmp_path / "cgcnn" / f"mat-{number}.jsonl", [float(number)])
    (tmp_path / "cgcnn" / "id_prop.csv").write_text("".join(f"mat-{n},{-n}\n" for n in range(5)))
    return tmp_path / "cgcnn"


@pytest.mark.parametrize("jobs", [1, 2])
def test_id_prop_is_joined(tmp_path, folder, jobs):
    manifest = import_source(folder, tmp_path / "out", splits=(1, 0, 0), jobs=jobs)
    samples = [LMDBDataset(tmp_path / "out").stored(index)["targets"] for index in range(5)]
    assert samples == [{"energy": float(number), "target": float(-number)} for number in range(5)]
    assert manifest.source["account"]["targets"]["target"]["structures"] == 5
    assert not any("rows" in note for note in manifest.source["account"]["notes"])


def test_unmatched_rows_are_noted(tmp_path, folder, caplog):
    table = tmp_path / "labels.csv"
    table.write_text("file,gap\nmat-1.jsonl,0.5\nmat-2.jsonl,\nother.cif,3\n")
    manifest = import_source(folder, tmp_path / "out", labels=table, splits=(1, 0, 0))
    notes = [note for note in manifest.source["account"]["notes"] if "labels.csv" in note]
    assert "3 of 5 structures have no row" in notes[0]
    assert notes[0].endswith("'mat-0.jsonl', 'mat-3.jsonl', 'mat-4.jsonl'")
    assert notes[1].endswith("match no structure: 'other.cif'")
    assert notes[0] in caplog.messages
    gaps = [LMDBDataset(tmp_path / "out").stored(index)["targets"].get("gap") for index in range(5)]
    assert gaps[1] == 0.5
    assert all(gap is None or np.isnan(gap) for gap in [gaps[0], *gaps[2:]])


def test_table_without_match_raises(tmp_path, folder):
    table = tmp_path / "labels.csv"
    table.write_text("file,gap\nx.cif,0.5\n")
    with pytest.raises(
        ValueError, match=r"no row of '.*labels\.csv' matches a structure; the ids .* 'x\.cif',"
    ):
        import_source(folder, tmp_path / "out", labels=table)
    assert not (tmp_path / ".out.partial").exists()


@needs_cases
def test_cgcnn_folder_has_labels(tmp_path):
    manifest = import_source(CASES / "cgcnn", tmp_path / "out", splits=(0.6, 0.2, 0.2))
    dataset = LMDBDataset(tmp_path / "out")
    labels = {
        sample["extra"]["source"]: sample["targets"]["target"] for sample in map(dataset.stored, range(5))
    }
    assert labels == {f"mat-{number}.cif": pytest.approx(-1 - 0.1 * number) for number in range(5)}
    assert not any("id_prop" in each["file"] for each in manifest.source["account"]["passed_over"])


@needs_cases
@pytest.mark.parametrize("folder", ["trajectories", "vasp-runs"])
def test_frames_of_real_runs_stay_together(tmp_path, folder):
    manifest = import_source(CASES / folder, tmp_path / "out", splits=(0.5, 0.25, 0.25))
    dataset = LMDBDataset(tmp_path / "out")
    sources = [
        {dataset.stored(int(index))["extra"]["source"] for index in dataset.split_indices(name)}
        for name in dataset.splits
    ]
    assert sum(map(len, sources)) == len(set().union(*sources)) == manifest.source["files"]
