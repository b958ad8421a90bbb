import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matsciml.report.metrics import Classification, Regression
from matsciml.report.predictions import PredictionCollector, PredictionWriter

ONE_RANK = SimpleNamespace(world_size=1)


def outputs(natoms, first=0, seed=0):
    """Return the outputs of a force task for one batch."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(natoms)

    def both():
        return {
            "energy": torch.randn(len(natoms), 1, generator=generator),
            "force": torch.randn(total, 3, generator=generator),
        }

    ids = [f"x/{first + i}" for i in range(len(natoms))]
    return {"predictions": both(), "targets": both(), "natoms": torch.tensor(natoms), "sample_id": ids}


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=4))
def test_quantities_equal_single_batch(batches):
    collector = PredictionCollector()
    parts = [outputs(natoms, seed=i) for i, natoms in enumerate(batches)]
    for i, part in enumerate(parts):
        collector.on_test_batch_end(ONE_RANK, None, part, None, i)
    energy, force = collector.quantities({"energy": {"per_atom_mean": 0.5, "mean": 9.0}})
    assert (energy.name, energy.unit, energy.baseline) == ("energy_per_atom", "eV/atom", 0.5)
    expected = [
        float(e) / n
        for p, b in zip(parts, batches, strict=True)
        for e, n in zip(p["predictions"]["energy"][:, 0].double(), b, strict=True)
    ]
    np.testing.assert_allclose(energy.predicted, expected)
    assert force.baseline == 0.0
    np.testing.assert_array_equal(
        force.target, torch.cat([p["targets"]["force"] for p in parts]).double().reshape(-1)
    )


def test_baseline_is_most_frequent_class():
    collector = PredictionCollector()
    out = {
        "predictions": {
            "system": torch.tensor([[0.0, 3.0, 1.0], [2.0, 1.0, 0.0]]),
            "stable": torch.tensor([[0.3], [-0.1]]),
            "gap": torch.tensor([[1.0], [2.0]]),
        },
        "targets": {
            "system": torch.tensor([1, 2]),
            "stable": torch.tensor([1, 1]),
            "gap": torch.tensor([[1.5], [2.0]]),
        },
        "natoms": torch.tensor([2, 3]),
    }
    collector.on_test_batch_end(ONE_RANK, None, out, None, 0)
    statistics = {"system": {"classes": [0, 1, 2], "class_counts": [1, 2, 7]}, "gap": {"mean": 1.25}}
    system, stable, gap = collector.quantities(statistics)
    assert isinstance(system, Classification)
    assert (system.predicted.tolist(), system.baseline) == ([1, 0], 2)
    assert stable.predicted.tolist() == [1, 0]
    assert isinstance(gap, Regression)
    assert (gap.baseline, gap.unit) == (1.25, "")


def test_missing_labels_are_left_out():
    """Errors are those of the known components, and structures with a missing one are counted."""
    part = outputs([1, 2, 3])
    part["predictions"] |= {"stress": torch.full((3, 3, 3), torch.nan), "gap": torch.ones(3, 1)}
    part["predictions"] |= {"kind": torch.eye(3), "dos": torch.zeros(3, 2)}
    part["targets"]["energy"][1] = torch.nan
    part["targets"]["force"][0, 2] = torch.nan
    part["targets"]["force"][3:] = torch.nan
    part["targets"] |= {"gap": torch.full((3, 1), torch.nan), "kind": torch.tensor([0, -100, 1])}
    part["targets"]["dos"] = torch.tensor([[1.0, 3.0], [1.0, torch.nan], [2.0, 3.0]])
    collector = PredictionCollector()
    collector.on_test_batch_end(ONE_RANK, None, part, None, 0)
    statistics = {"dos": {"kind": "spectrum", "mean": 9.0, "bin_mean": [1.0, 3.0]}}
    found = {quantity.name: quantity for quantity in collector.quantities(statistics)}
    assert list(found) == ["energy_per_atom", "force", "gap", "kind", "dos"]  # no stress, which has no labels
    assert [quantity.missing for quantity in found.values()] == [1, 2, 3, 1, 1]
    counts = {name: quantity.errors()["count"] for name, quantity in found.items()}
    assert counts == {"energy_per_atom": 2, "force": 8, "gap": 0, "kind": 2, "dos": 5}
    for name in ("energy_per_atom", "force", "dos"):
        assert np.isfinite([v for v in found[name].errors().values() if not isinstance(v, str)]).all()
    assert np.isnan(found["gap"].errors()["mae"])
    assert found["kind"].errors()["accuracy"] == 0.5
    assert found["dos"].errors()["baseline_mae"] == pytest.approx(1 / 5)


def test_classes_begin_at_first_label():
    """Space groups have the labels 1 to 230; tasks return class indices from 0."""
    module = SimpleNamespace(task_keys=["space_group"], label_range=lambda key: (1, 230))
    collector = PredictionCollector()
    collector.on_test_start(ONE_RANK, module)
    out = {
        "predictions": {"space_group": torch.eye(4)},
        "targets": {"space_group": torch.tensor([0, 1, 2, 1])},
        "natoms": torch.ones(4, dtype=torch.int64),
    }
    collector.on_test_batch_end(ONE_RANK, module, out, None, 0)
    statistics = {"space_group": {"classes": [1, 2, 3], "class_counts": [1, 8, 1]}}
    (found,) = collector.quantities(statistics)
    assert found.target.tolist() == [1, 2, 3, 2]
    assert found.predicted.tolist() == [1, 2, 3, 4]
    assert found.errors()["baseline_accuracy"] == 0.5


def test_other_outputs_are_ignored():
    collector = PredictionCollector()
    collector.on_test_batch_end(ONE_RANK, None, torch.tensor(1.0), None, 0)
    assert collector.quantities({}) == []


def test_writer_writes_one_line_per_structure(tmp_path):
    path = tmp_path / "runs" / "predictions.jsonl"
    writer = PredictionWriter(path)
    writer.on_predict_start(ONE_RANK, None)
    parts = [outputs([1, 1], seed=1), outputs([3, 1, 2], first=2, seed=2)]
    for i, part in enumerate(parts):
        writer.on_predict_batch_end(ONE_RANK, None, part, None, i)
        assert not path.exists()
    writer.on_predict_end(ONE_RANK, None)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["sample_id"] for line in lines] == [f"x/{i}" for i in range(5)]
    assert [np.shape(line["force"]) for line in lines] == [(1, 3), (1, 3), (3, 3), (1, 3), (2, 3)]
    np.testing.assert_allclose(lines[4]["force"], parts[1]["predictions"]["force"][4:])
    assert lines[2]["energy"] == pytest.approx(float(parts[1]["predictions"]["energy"][0]))


def test_failed_prediction_leaves_no_file(tmp_path):
    writer = PredictionWriter(tmp_path / "predictions.jsonl")
    writer.on_predict_start(ONE_RANK, None)
    with pytest.raises(ValueError, match="predict_step"):
        writer.on_predict_batch_end(ONE_RANK, None, None, None, 0)
    writer.on_exception(ONE_RANK, None, ValueError())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"--trainer\.devices 1"):
        writer.on_predict_start(SimpleNamespace(world_size=2), None)


def test_writer_writes_labels_and_missing_values(tmp_path):
    module = SimpleNamespace(predicted_labels=lambda key, logits: [("a", "b")[i] for i in logits.argmax(1)])
    writer = PredictionWriter(tmp_path / "predictions.jsonl")
    writer.on_predict_start(ONE_RANK, module)
    part = {"predictions": {"kind": torch.eye(2)}, "natoms": torch.tensor([1, 2]), "sample_id": None}
    writer.on_predict_batch_end(ONE_RANK, module, part, None, 0)
    part["predictions"] = {
        "stress": torch.tensor([[[1.0]], [[torch.nan]]]),
        "gap": torch.tensor([1.0, torch.nan]),
    }
    writer.on_predict_batch_end(ONE_RANK, None, part, None, 1)
    writer.on_predict_end(ONE_RANK, module)
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines[:2]] == ["a", "b"]
    assert lines[0]["kind_logits"] == [1.0, 0.0]
    assert [(line["stress"], line["gap"]) for line in lines[2:]] == [(1.0, 1.0), (None, None)]
