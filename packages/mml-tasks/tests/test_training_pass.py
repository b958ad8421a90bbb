import logging

import pytest
import torch
from mml_tasks.normalization.training_pass import statistics_of_batches
from torch.utils.data import DataLoader


def test_pass_logs_source(data, caplog):
    caplog.set_level(logging.INFO, "mml_tasks")
    found = statistics_of_batches(data.loader(), 100)
    assert found["density"]["count"] == 10
    assert found["density"]["mean"] == pytest.approx(data.target_statistics()["density"]["mean"])
    assert found["density"]["source"] == "a pass over 10 structures of the training data"
    assert "statistics of targets from a pass over 10 structures of the training data, in " in caplog.text


def test_pass_stops_at_max_samples(data, caplog):
    caplog.set_level(logging.INFO, "mml_tasks")
    found = statistics_of_batches(data.loader(), 5)
    assert found["density"]["count"] == 8  # batches of four
    assert "8 structures of the training data, which stopped at max_samples=5" in caplog.text


def test_endless_loader_is_bounded(batch):
    def forever():
        while True:
            yield batch

    assert statistics_of_batches(forever(), 20)["density"]["count"] == 20


def test_random_state_is_restored(data, collate_samples):
    loader = DataLoader(data.samples, batch_size=3, shuffle=True, collate_fn=collate_samples)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    statistics_of_batches(loader, 100)
    assert torch.equal(torch.rand(4), expected)


def test_undetermined_references_are_warned_about(batch, caplog):
    batch["graph"].atomic_numbers = torch.tensor([3, 16] * 8)
    batch["graph"].natoms = torch.tensor([4, 4, 4, 2, 2])
    statistics_of_batches([batch], 10, ["energy"])
    assert "determine only 1 of the 2 reference energies of 'energy' (Li, S)" in caplog.text


def test_invalid_batches_are_refused(batch):
    with pytest.raises(ValueError, match="requires batches that are dicts, got list"):
        statistics_of_batches([[batch]], 10)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="needs training data, but the loader has no batches"):
        statistics_of_batches([], 10)
    with pytest.raises(ValueError, match="no 'graph'"):
        statistics_of_batches([{"targets": batch["targets"]}], 10)
