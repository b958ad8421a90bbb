import pytest
from mml_tasks.normalization.scale_rules import EnergyRules, ScaleRules, VectorRules
from mml_tasks.normalization.stored_statistics import Scale

STATISTICS = {
    "energy": {"mean": -9.0, "std": 3.0, "per_atom_mean": -3.0, "per_atom_std": 0.2},
    "force": {"mean": 0.1, "std": 0.6, "rms": 0.7},
}


def test_targets_are_scaled_independently():
    scales = ScaleRules(["energy", "force"], ["energy"]).of_data(STATISTICS)
    assert (scales["energy"].mean, scales["energy"].std, scales["energy"].per_atom) == (-3.0, 0.2, True)
    assert (scales["force"].mean, scales["force"].std) == (0.1, 0.6)


def test_targets_without_statistics_are_left_out():
    assert list(ScaleRules(["energy", "gap"]).of_data(STATISTICS)) == ["energy"]


def test_energy_and_force_share_one_scale():
    scales = EnergyRules(stress=False).of_data(STATISTICS)
    assert scales["energy"].std == scales["force"].std == 0.7
    assert scales["force"].mean is None
    completed = EnergyRules(stress=True).complete({"energy": Scale(std=2.0), "stress": Scale(std=5.0)})
    assert {key: scale.std for key, scale in completed.items()} == {
        "energy": 2.0,
        "force": 2.0,
        "stress": 5.0,
    }


def test_scales_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"energy_std=2.0 and force_std=3.0 differ"):
        EnergyRules(stress=False).complete({"energy": Scale(std=2.0), "force": Scale(std=3.0)})


def test_vectors_have_one_scale_and_no_mean():
    rules = VectorRules(["energy", "force"], ["energy"], ["force"])
    scales = rules.of_data(STATISTICS)
    assert (scales["force"].mean, scales["force"].std) == (None, 0.7)
    with pytest.raises(ValueError, match=r"force_mean must be zero, got \[0.0, 1.0, 0.0\]"):
        rules.complete({"force": Scale(mean=[0.0, 1.0, 0.0])})
    assert rules.complete({"energy": Scale(mean=1.0)}) == {"energy": Scale(mean=1.0)}
