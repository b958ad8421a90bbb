"""Every consumer masks missing labels of each kind of target: losses, metrics, reports, predictions."""

import csv
import json
import re

import numpy as np
import pytest
from matsciml.cli import main
from mml_data.convert import import_source
from mml_data.store.stored_dataset import StoredDataset

KINDS = {
    "force": ["energy", "force", "stress"],
    "scalar": ["gap"],
    "vector": ["dipole"],
    "tensor": ["dielectric"],
    "spectrum": ["dos"],
    "classes": ["family"],
    "binary": ["metal"],
}
"""Tasks of `matsciml init` with their targets: scalars, and per-atom, vector, tensor, spectrum and class."""

FAMILIES = ("cubic", "hexagonal", "other")


def structures():
    """Yield structures. Each label has one NaN in every fourth of them, and is absent in every tenth."""
    random = np.random.default_rng(0)
    for index in range(60):
        atoms = 2 + index % 3
        numbers = random.choice([28, 29], size=atoms)
        positions = np.arange(atoms)[:, None] * [2.2, 0.3, 0.1] + random.normal(scale=0.1, size=(atoms, 3))
        labels = {
            "energy": np.array(-3.0 * atoms + random.normal()),
            "force": random.normal(size=(atoms, 3)),
            "stress": random.normal(scale=0.01, size=(3, 3)),
            "gap": np.array(random.random()),
            "dipole": random.normal(size=3),
            "dielectric": 5 * np.eye(3) + random.normal(scale=0.1, size=(3, 3)),
            "dos": random.random(5),
        }
        targets = {name: label.tolist() for name, label in labels.items()}
        targets |= {"family": FAMILIES[index % 3], "metal": index % 2}
        for place, (name, label) in enumerate(labels.items()):
            if (index + place) % 4 == 0:
                label.reshape(-1)[-1] = np.nan
                targets[name] = json.loads(json.dumps(label.tolist()).replace("NaN", "null"))
            if (index + place) % 10 == 0:
                del targets[name]
        for name in ("family", "metal"):
            if index % 4 == 1:
                targets[name] = None
        yield {
            "atomic_numbers": numbers.tolist(),
            "positions": positions.tolist(),
            "cell": (np.eye(3) * 9).tolist(),
            "targets": targets,
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("missing")
    lines = [json.dumps(structure) + "\n" for structure in structures()]
    (folder / "all.jsonl").write_text("".join(lines))
    (folder / "new.jsonl").write_text("".join(lines[:20]))
    options = {"splits": (0.6, 0.2, 0.2), "classes": ["family", "metal"], "split_by": "frame"}
    import_source(folder / "all.jsonl", folder / "data", **options)
    return folder


def known_and_missing(folder, split, target):
    """Return the number of known components in a split, and of structures that lack a part of the label."""
    known = missing = 0
    dataset = StoredDataset(folder / "data", split=split)
    for index in range(len(dataset)):
        label = np.asarray(dataset.stored(index)["targets"][target], dtype=np.float64)
        known += int(np.count_nonzero(~np.isnan(label)))
        missing += int(np.isnan(label).any())
    return known, missing


def logged(run):
    """Return the last value of each series of a run."""
    with (run / "metrics.csv").open() as file:
        return {key: float(value) for row in csv.DictReader(file) for key, value in row.items() if value}


def check_names(folder):
    """Check that classes have names in the report and in the predictions of a split."""
    report = (folder / "runs/classes/report.html").read_text()
    assert re.search("most frequent class, (cubic|hexagonal|other)", report)
    assert main(["predict", "--name", "classes"]) == 0
    lines = (folder / "runs/classes-predict/predictions.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        assert line["family"] == FAMILIES[np.argmax(line["family_logits"])]


@pytest.mark.parametrize("task", KINDS)
def test_missing_labels_are_masked(folder, task, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    targets = KINDS[task]
    assert main(["init", task, "--data", "data", "--task", task, "--targets", *targets]) == 0
    assert main(["fit", "--config", f"{task}.yaml", "--trainer.max_epochs=1"]) == 0
    runs = [task]
    if task in ("force", "classes"):
        assert main(["validate", "--name", task]) == 0
        assert main(["test", "--name", task]) == 0
        runs.append(f"{task}-test")
    capsys.readouterr()
    assert main(["predict", "new.jsonl", "--name", task, "--out", f"{task}.jsonl"]) == 0
    shown = capsys.readouterr().out

    if task == "vector":
        main(["diagnose", "--config", "vector.yaml"])
        shown_checks = capsys.readouterr().out
        assert "rows of target dipole lack a label" in re.sub(r"\s+", " ", shown_checks)
        assert "Not finite" not in shown_checks

    found = logged(folder / "runs" / task)
    assert np.isfinite(list(found.values())).all(), found
    for target in targets:
        for split, stage in (("train", "train"), ("val", "val"), ("test", "test")):
            assert found[f"{stage}_{target}_missing"] == known_and_missing(folder, split, target)[1]

    for run in runs:
        summary = json.loads((folder / "runs" / run / "summary.json").read_text())["test"]
        for target in targets:
            errors = summary["energy_per_atom" if target == "energy" else target]
            assert (errors["count"], errors["missing"]) == known_and_missing(folder, "test", target)
            assert not [name for name, value in errors.items() if value is None], errors
        report = (folder / "runs" / run / "report.html").read_text()
        assert not re.search(r">[^<]*\bnan\b", report.split("<h2>Config")[0])
        assert "missing in" in report

    lines = [json.loads(line) for line in (folder / f"{task}.jsonl").read_text().splitlines()]
    for target in targets:
        pairs = [(line[target], line[f"{target}_label"]) for line in lines if f"{target}_label" in line]
        if task in ("classes", "binary"):
            right = sum(prediction == label for prediction, label in pairs)
            assert f"{target}: {right / len(pairs):.1%} of 15 labeled structures correct" in shown
            if task == "classes":
                check_names(folder)
            continue
        errors = [
            (np.ravel(prediction) - np.ravel(np.array(label, dtype=np.float64)))
            / (line["natoms"] if target == "energy" else 1)
            for line in lines
            if (prediction := line[target]) is not None and (label := line.get(f"{target}_label")) is not None
        ]
        errors = np.concatenate(errors)
        errors = errors[~np.isnan(errors)]
        mae = re.search(
            rf"^{target.replace('energy', 'energy per atom')}: MAE (\S+) .*over (\d+) labels", shown, re.M
        )
        factor = 1000 if target in ("energy", "force", "stress") else 1
        assert int(mae[2]) == errors.size
        assert float(mae[1]) == pytest.approx(factor * np.abs(errors).mean(), rel=1e-3)
