import pytest
import torch
from mml_tasks.normalization.running_statistics import TargetStatistics


def test_statistics_equal_those_of_all_targets(batch):
    batch["targets"]["band_gap"][1] = torch.nan
    statistics = TargetStatistics(["energy"])
    statistics.add(batch)
    found = statistics.result("here")
    energy, force = batch["targets"]["energy"].view(-1), batch["targets"]["force"]
    natoms = batch["graph"].natoms
    assert found["energy"]["mean"] == pytest.approx(energy.mean().item())
    assert found["energy"]["std"] == pytest.approx(energy.std(correction=0).item())
    assert found["energy"]["per_atom_mean"] == pytest.approx((energy / natoms).mean().item())
    assert found["energy"]["count"] == 5
    assert found["energy"]["source"] == "here"
    assert len(found["energy"]["reference_energies"]) == len(batch["graph"].atomic_numbers.unique())
    assert found["force"]["rms"] == pytest.approx(force.square().mean().sqrt().item())
    assert found["force"]["count"] == force.numel()
    assert "per_atom_mean" not in found["force"]
    assert (found["band_gap"]["count"], found["band_gap"]["missing"]) == (4, 1)


def test_unlabeled_target_has_no_mean(batch):
    batch["targets"] = {"energy": torch.full((5, 1), torch.nan)}
    statistics = TargetStatistics(["energy"])
    statistics.add(batch)
    assert statistics.result("here") == {"energy": {"count": 0, "missing": 5, "source": "here"}}


def test_invalid_labels_and_elements_are_refused(batch):
    statistics = TargetStatistics(["energy"])
    batch["graph"].atomic_numbers[0] = 200
    with pytest.raises(ValueError, match=r"from 1 to 118, got numbers from .* to 200"):
        statistics.add(batch)
    batch["targets"]["energy"][2] = torch.inf
    with pytest.raises(ValueError, match="'energy' is inf in sample 'toy/000002'"):
        statistics.add(batch)
