import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_data import LMDBDataset
from mml_data.convert import import_source as import_jsonl

SHARED = Path(__file__).parents[3].parent / "shared" / "data"

COPPER = {
    "atomic_numbers": [29, 30],
    "positions": [[0.0, 0.0, 0.0], [1.5, 1.5, 1.5]],
    "cell": [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]],
    "pbc": [True, True, True],
    "targets": {"energy": -1.5, "is_metal": True, "force": [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]},
    "extra": {"formula": "CuZn"},
}


def write_lines(path, structures):
    path.write_text("".join(json.dumps(structure) + "\n" for structure in structures))
    return path


def changed(**changes):
    return {**COPPER, **changes}


def with_targets(**changes):
    return changed(targets={**COPPER["targets"], **changes})


@pytest.fixture
def file(tmp_path):
    """Function that writes a file and returns its path. A single structure is written ten times."""

    def write(*structures):
        return write_lines(tmp_path / "in.jsonl", structures * (10 if len(structures) == 1 else 1))

    return write


def check_equal(sample, line):
    """Check that a sample has the values of its line."""
    assert sample["atomic_numbers"].tolist() == line["atomic_numbers"]
    assert sample["pos"].tolist() == line["positions"]
    assert sample["pos"].dtype == torch.float64
    assert sample["cell"].tolist() == [line["cell"]]
    assert sample["pbc"].tolist() == line["pbc"]
    assert sample["targets"].keys() == line["targets"].keys()
    for name, value in line["targets"].items():
        stored = sample["targets"][name]
        kind = "classification" if isinstance(value, bool) else "regression"
        if value is None:
            assert torch.isnan(stored)
        else:
            assert name in sample["target_types"][kind]
            expected = (
                torch.tensor(int(value))
                if isinstance(value, bool)
                else torch.tensor(value, dtype=torch.float64)
            )
            assert stored.dtype == expected.dtype
            torch.testing.assert_close(stored, expected, rtol=0, atol=0)


finite = st.floats(-1e6, 1e6)


@st.composite
def structures(draw):
    num_atoms = draw(st.integers(1, 6))
    vectors = st.lists(st.lists(finite, min_size=3, max_size=3), min_size=num_atoms, max_size=num_atoms)
    lengths = draw(st.lists(st.floats(1.0, 20.0), min_size=3, max_size=3))
    return {
        "dataset": "made up",
        "index": draw(st.integers(0, 1000)),
        "atomic_numbers": draw(st.lists(st.integers(1, 118), min_size=num_atoms, max_size=num_atoms)),
        "positions": draw(vectors),
        "cell": (np.diag(lengths) + np.tri(3, k=-1)).tolist(),
        "pbc": draw(st.lists(st.booleans(), min_size=3, max_size=3)),
        "targets": {
            "energy": draw(finite),
            "stable": draw(st.booleans()),
            "magnetic": draw(st.none() | st.booleans()),
            "gap": draw(st.none() | finite),
            "force": draw(vectors),
        },
        "extra": {
            "formula": draw(st.text(st.characters(codec="utf-8"), max_size=10)),
            "note": draw(st.none() | finite),
        },
    }


class TestRoundTrip:
    @given(lines=st.lists(structures(), min_size=3, max_size=8), seed=st.integers(0, 99))
    def test_import_keeps_every_value(self, tmp_path_factory, lines, seed):
        known = dict(lines[0]["targets"], magnetic=False, gap=0.5)
        lines.append({**lines[0], "targets": known})  # so that no target is null everywhere
        path = tmp_path_factory.mktemp("jsonl")
        source = write_lines(path / "in.jsonl", lines)
        manifest = import_jsonl(source, path / "out", splits=(0.5, 0.25, 0.25), seed=seed, allow_close=True)
        dataset = LMDBDataset(path / "out")
        dataset.verify()
        assert len(dataset) == manifest.num_samples == len(lines)
        for index, line in enumerate(lines):
            check_equal(dataset[index], line)
            origin = {"dataset": line["dataset"], "index": line["index"]}
            note = dataset[index]["extra"].pop("note")
            assert note == line["extra"]["note"]
            assert dataset[index]["extra"]["formula"] == line["extra"]["formula"]
            assert origin.items() <= dataset[index]["extra"].items()
        indices = np.concatenate([dataset.split_indices(split) for split in ("train", "val", "test")])
        assert sorted(indices) == list(range(len(lines)))

    @pytest.mark.parametrize("name", ["lips", "materials_project"])
    def test_import_keeps_real_structures(self, tmp_path, name):
        source = SHARED / f"{name}.jsonl"
        if not source.is_file():
            pytest.skip("the shared data are not beside this checkout")
        import_jsonl(source, tmp_path / "out")
        dataset = LMDBDataset(tmp_path / "out")
        lines = [json.loads(line) for line in source.read_text().splitlines()]
        assert dataset.splits == {"train": 160, "val": 20, "test": 20}
        for sample, line in zip((dataset[i] for i in range(200)), lines, strict=True):
            check_equal(sample, line)
            assert line["extra"].items() <= sample["extra"].items()

    def test_statistics_cover_training_split(self, tmp_path, file):
        source = file(*[with_targets(energy=float(i)) for i in range(20)])
        manifest = import_jsonl(source, tmp_path / "out")
        train = LMDBDataset(tmp_path / "out", split="train")
        energies = [float(train[i]["targets"]["energy"]) for i in range(len(train))]
        assert manifest.statistics["train"]["targets"]["energy"]["mean"] == pytest.approx(np.mean(energies))
        assert manifest.statistics["train"]["targets"]["is_metal"]["class_counts"] == [len(train)]


class TestStored:
    def test_manifest_names_file_without_directory(self, tmp_path, file):
        import hashlib

        source = file(COPPER)
        manifest = import_jsonl(source, tmp_path / "out", seed=3)
        assert manifest.source["origin"] == "in.jsonl"
        assert manifest.source["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        shares = {"train": 0.8, "val": 0.1, "test": 0.1}
        assert manifest.source["split"].items() >= {"shares": shares, "seed": 3}.items()
        assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()

    def test_stress_has_one_row_per_structure(self, tmp_path, file):
        stress = np.arange(9.0).reshape(3, 3).tolist()
        import_jsonl(file(with_targets(stress=stress)), tmp_path / "out")
        assert LMDBDataset(tmp_path / "out")[0]["targets"]["stress"].tolist() == [stress]

    def test_blank_lines_are_ignored(self, tmp_path, file):
        source = file(COPPER)
        source.write_text("\n" + source.read_text() + "  \n\n")
        assert import_jsonl(source, tmp_path / "out").num_samples == 10

    def test_progress_counts_structures(self, tmp_path, file):
        done = []
        import_jsonl(file(COPPER), tmp_path / "out", progress=done.append)
        assert done == [10]


class TestMissing:
    def test_null_and_nan_become_nan_with_warning(self, tmp_path, file, caplog):
        lines = [with_targets(energy=None, is_metal=None), with_targets(energy=float("nan")), *[COPPER] * 8]
        with caplog.at_level(logging.WARNING, "mml_data"):
            manifest = import_jsonl(file(*lines), tmp_path / "out")
        dataset = LMDBDataset(tmp_path / "out")
        assert [bool(torch.isnan(dataset[i]["targets"]["energy"])) for i in range(3)] == [True, True, False]
        assert manifest.statistics["all"]["targets"]["energy"]["missing"] == 2
        assert [dataset[0]["target_types"]] * 2 == [dataset[1]["target_types"], dataset[9]["target_types"]]
        assert "target 'energy' is missing in 2 of 10 structures" in caplog.text
        assert "target 'is_metal' is missing in 1 of 10 structures" in caplog.text

    @pytest.mark.parametrize("value", [None, float("nan")])
    def test_allow_missing_false_raises(self, tmp_path, file, value):
        source = file(COPPER, with_targets(energy=value))
        with pytest.raises(ValueError, match=r"in\.jsonl:2: target 'energy' is missing .*allow_missing=True"):
            import_jsonl(source, tmp_path / "out", allow_missing=False)

    def test_missing_list_becomes_nan_array(self, tmp_path, file, caplog):
        manifest = import_jsonl(file(with_targets(force=None), *[COPPER] * 9), tmp_path / "out")
        about = manifest.statistics["all"]["targets"]["force"]
        assert (about["missing"], about["missing_structures"], about["count"]) == (6, 1, 54)
        assert "target 'force' is missing in 1 of 10 structures" in caplog.text
        force = LMDBDataset(tmp_path / "out")[0]["targets"]["force"]
        assert force.shape == (2, 3)
        assert torch.isnan(force).all()

    def test_target_without_values_raises(self, tmp_path, file):
        source = file(with_targets(energy=None))
        account = import_jsonl(source, tmp_path / "out").source["account"]
        assert account["targets"]["energy"]["structures"] == 0
        with pytest.raises(ValueError, match=r"the label 'energy' is missing .* in every structure"):
            import_jsonl(source, tmp_path / "again", targets=["energy"])


BAD_LINES = {
    "not JSON": ("{", r"the line is not valid JSON: "),
    "cut off": (json.dumps(COPPER)[:-20], r"the line is not valid JSON"),
    "not an object": ("[1, 2]", r"a line must be a JSON object, got list"),
    "not text": (b"\xff\xfe\x00", r"the line is not valid JSON"),
    "too deep": ("[" * 100_000, r"the line is not valid JSON"),
    "unknown key": (changed(forces=[]), r"unknown key 'forces'; put labels under 'targets'"),
    "no positions": (changed(positions=None), r"the structure has no 'positions'"),
    "no atomic numbers": (changed(atomic_numbers=None), r"the structure has no 'atomic_numbers'"),
    "symbols": (changed(atomic_numbers=["Cu", "Zn"]), r"'atomic_numbers' must contain only numbers"),
    "fractions of a number": (
        changed(atomic_numbers=[29.5, 30]),
        r"atomic_numbers of the sample must be integers of shape \[N\]",
    ),
    "element 300": (
        changed(atomic_numbers=[29, 300]),
        r"atomic_numbers of the sample must be from 1 to 118, got 300",
    ),
    "no atoms": (
        changed(atomic_numbers=[], positions=[]),
        r"atomic_numbers of the sample must be integers of shape \[N\] with at least one",
    ),
    "too few positions": (
        changed(positions=[[0.0, 0, 0]]),
        r"pos of the sample has shape \[1, 3\], expected \[2, 3\]",
    ),
    "ragged positions": (
        changed(positions=[[0.0, 0], [1, 1, 1]]),
        r"'positions' has rows of different lengths",
    ),
    "null position": (changed(positions=[[0, 0, None], [1, 1, 1]]), r"'positions' must contain only numbers"),
    "NaN position": (
        changed(positions=[[0, 0, float("nan")], [1, 1, 1]]),
        r"pos of the sample must be finite, got nan at index \[0, 2\]",
    ),
    "infinite cell": (
        changed(cell=[[float("inf"), 0, 0], [0, 3, 0], [0, 0, 3]]),
        r"cell of the sample must be finite, got inf",
    ),
    "flat cell": (changed(cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]]), r"'cell' has zero volume: "),
    "lengths as cell": (changed(cell=[3.0, 3.0, 3.0]), r"'cell' must have the shape .*, got \[3\]"),
    "numbers as pbc": (changed(pbc=[1, 1, 1]), r"'pbc' must be three booleans, got \[1, 1, 1\]"),
    "one pbc": (changed(pbc=True), r"'pbc' must be three booleans, got True"),
    "ragged pbc": (changed(pbc=[True, [True]]), r"'pbc' must be three booleans, got \[True, \["),
    "periodic without cell": (changed(cell=None), r"'pbc' is .*, but the structure has no 'cell'"),
    "targets in a list": (changed(targets=[1.0]), r"'targets' must be an object, got list"),
    "text target": (
        with_targets(energy="low"),
        r"target 'energy' must be a number, got 'low'",
    ),
    "ragged target": (
        with_targets(force=[[0.0], [1, 2]]),
        r"target 'force' must be numbers in rows of the same length",
    ),
    "infinite target": (with_targets(energy=float("inf")), r"targets.energy of the sample is infinite"),
    "forces of another structure": (
        with_targets(force=[[0.0, 0, 0]] * 3),
        r"target 'force' must have one row for each atom, \[2, 3\], got \[3, 3\]",
    ),
    "extra is no object": (changed(extra="CuZn"), r"'extra' must be an object, got str"),
    "two datasets": (
        changed(dataset="a", extra={"dataset": "b"}),
        r"'dataset' is 'a', but 'b' under 'extra'",
    ),
    "a number of 64 bits": (
        changed(extra={"big": 2**63}),
        r"extra.big must fit into 64 bits, got 9223372036854775808",
    ),
}


class TestBadInput:
    @pytest.mark.parametrize("name", BAD_LINES)
    @pytest.mark.parametrize("before", [0, 3])
    def test_invalid_line_raises_and_writes_nothing(self, tmp_path, name, before):
        line, message = BAD_LINES[name]
        line = json.dumps(line) if isinstance(line, dict) else line
        good = (json.dumps(COPPER) + "\n").encode()
        source = tmp_path / "in.jsonl"
        source.write_bytes(
            good * (before + 1) + (line if isinstance(line, bytes) else line.encode()) + b"\n" + good * 5
        )
        with pytest.raises(ValueError, match=rf"in\.jsonl:{before + 2}: .*{message}"):
            import_jsonl(source, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]

    def test_kind_conflict_names_two_structures(self, tmp_path, file):
        message = r"target 'is_metal' is a class in in\.jsonl:frame 1, but a number in in\.jsonl:frame 2"
        with pytest.raises(ValueError, match=message):
            import_jsonl(file(COPPER, with_targets(is_metal=1)), tmp_path / "out", splits=(1, 0, 0))
        assert not (tmp_path / ".out.partial").exists()

    def test_targets_of_some_structures_are_missing_in_others(self, tmp_path, file):
        source = file(changed(targets={"gap": 1.0}), COPPER)
        import_jsonl(source, tmp_path / "out", splits=(1, 0, 0))
        dataset = LMDBDataset(tmp_path / "out")
        names = sorted({"gap", *COPPER["targets"]})
        assert sorted(dataset[0]["targets"]) == sorted(dataset[1]["targets"]) == names
        assert torch.isnan(dataset[0]["targets"]["force"]).all()
        assert torch.isnan(dataset[1]["targets"]["gap"])

    def test_invalid_first_line_raises(self, tmp_path, file):
        with pytest.raises(ValueError, match=r"in\.jsonl:1: target 'energy' must be a number"):
            import_jsonl(file(with_targets(energy={})), tmp_path / "out")

    def test_invalid_line_keeps_previous_data_set(self, tmp_path, file):
        import_jsonl(file(COPPER), tmp_path / "out")
        with pytest.raises(ValueError, match=r"in\.jsonl:2"):
            import_jsonl(file(COPPER, changed(cell=None)), tmp_path / "out", overwrite=True)
        dataset = LMDBDataset(tmp_path / "out")
        dataset.verify()
        assert len(dataset) == 10

    def test_empty_file_raises(self, tmp_path):
        (tmp_path / "in.jsonl").write_text("\n")
        with pytest.raises(ValueError, match=r"in\.jsonl' is empty; supported are"):
            import_jsonl(tmp_path / "in.jsonl", tmp_path / "out")

    def test_missing_file_raises(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"in\.jsonl' does not exist"):
            import_jsonl(tmp_path / "in.jsonl", tmp_path / "out")
