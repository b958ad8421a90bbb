import pytest
import torch
from mml_tasks.batches import (
    align_target,
    as_batch,
    check_not_infinite,
    find_target,
    private_copy,
    sum_by_structure,
)
from mml_tasks.testing import random_structure, toy_graph


def test_sums_are_by_structure(batch):
    graph = batch["graph"]
    assert sum_by_structure(torch.ones(len(graph.pos), 2), graph).tolist() == [
        [2, 2],
        [3, 3],
        [4, 4],
        [5, 5],
        [2, 2],
    ]


def test_single_sample_becomes_batch(batch):
    graph = toy_graph(*random_structure(0, 3))
    del graph.batch
    graph.natoms = torch.tensor(3)
    sample = {"graph": graph, "sample_id": "toy/7"}
    made = as_batch(sample)
    assert made["sample_id"] == ["toy/7"]
    assert made["graph"].batch.tolist() == [0, 0, 0]
    assert made["graph"].natoms.tolist() == [3]
    assert made["graph"].pos is graph.pos
    assert sample["sample_id"] == "toy/7"
    assert not hasattr(graph, "batch")
    assert as_batch(made) is made
    assert as_batch(batch) is batch


def test_private_copy_clones_inference_tensors(batch):
    with torch.inference_mode():
        batch["graph"].offsets = batch["graph"].offsets * 1
        batch["extra"] = torch.ones(3)
    copied = private_copy(batch)
    assert not copied["graph"].offsets.is_inference()
    assert not copied["extra"].is_inference()
    assert batch["graph"].offsets.is_inference()
    assert copied["graph"].pos is batch["graph"].pos


def test_missing_target_lists_known_targets(batch):
    with pytest.raises(
        ValueError, match=r"'enrgy' is not in the batch of sample 'toy/000000', whose targets are"
    ):
        find_target(batch, "enrgy")
    with pytest.raises(ValueError, match=r"'energy' is not in the batch, whose targets are \[\]"):
        find_target({}, "energy")


def test_align_target_adds_dimension():
    output = torch.zeros(3, 1)
    assert align_target("energy", torch.arange(3), output).shape == (3, 1)
    assert align_target("energy", torch.arange(3), output).dtype == torch.float64


@pytest.mark.parametrize("shape", [(3, 2), (1, 3), (2,), (3, 1, 1)])
def test_other_shapes_are_not_broadcast(shape):
    with pytest.raises(ValueError, match=r"'energy' has shape .* but the task predicts shape \[3, 1\]"):
        align_target("energy", torch.zeros(shape), torch.zeros(3, 1))


@pytest.mark.parametrize("bad", [float("inf"), float("-inf")])
def test_infinite_values_name_sample(batch, bad):
    batch["targets"]["energy"][3, 0] = bad
    with pytest.raises(
        ValueError, match=rf"'energy' is {bad} in sample 'toy/000003'\. Correct the label, or set it to NaN"
    ):
        check_not_infinite("energy", batch["targets"]["energy"], batch)
    batch["targets"]["force"][6, 1] = bad  # structures have 2, 3, 4, 5, 2 atoms
    with pytest.raises(ValueError, match=rf"'force' is {bad} in sample 'toy/000002'"):
        check_not_infinite("force", batch["targets"]["force"], batch)
    del batch["sample_id"]
    with pytest.raises(ValueError, match="in sample 2 of the batch"):
        check_not_infinite("force", batch["targets"]["force"], batch)


def test_nan_is_accepted(batch):
    batch["targets"]["energy"][3, 0] = float("nan")
    check_not_infinite("energy", batch["targets"]["energy"], batch)
