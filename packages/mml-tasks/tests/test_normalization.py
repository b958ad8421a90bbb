import pytest
from mml_tasks.normalization import Scale, rms_from_statistics, scale_from_statistics, scales_from_kwargs


def test_names_are_sorted_by_target():
    scales = scales_from_kwargs(
        {"energy_per_atom_mean": -3.0, "energy_per_atom_std": 0.5, "stress_std": 0.1},
        ["energy", "force", "stress"],
        ["energy"],
    )
    assert scales == {"energy": Scale(-3.0, 0.5, True), "stress": Scale(None, 0.1, False)}


def test_a_target_that_is_called_per_atom_is_a_target_of_its_own():
    scales = scales_from_kwargs({"energy_per_atom_mean": 1.0}, ["energy_per_atom"])
    assert scales == {"energy_per_atom": Scale(mean=1.0)}


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown names \['enrgy_mean'\]; known are .*'energy_mean'"):
        scales_from_kwargs({"enrgy_mean": 1.0}, ["energy"])


def test_a_mean_per_atom_is_for_extensive_targets():
    with pytest.raises(ValueError, match="unknown names"):
        scales_from_kwargs({"band_gap_per_atom_mean": 1.0}, ["band_gap"])


def test_two_means_of_one_target_are_refused():
    with pytest.raises(ValueError, match="energy_mean twice"):
        scales_from_kwargs({"energy_mean": 1.0, "energy_per_atom_mean": 1.0}, ["energy"], ["energy"])


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"one number for force_std, got \[1.0, 2.0, 3.0\]"):
        scales_from_kwargs({"force_std": [1.0, 2.0, 3.0]}, ["force"])  # type: ignore[dict-item]


def test_statistics_give_totals_or_numbers_per_atom():
    statistics = {"mean": 1.0, "std": 2.0, "per_atom_mean": 3.0, "per_atom_std": 4.0}
    assert scale_from_statistics("energy", statistics) == Scale(1.0, 2.0, False)
    assert scale_from_statistics("energy", statistics, per_atom=True) == Scale(3.0, 4.0, True)


def test_statistics_without_a_number_are_refused():
    with pytest.raises(ValueError, match="'mean' of target 'label', but the data module only knows"):
        scale_from_statistics("label", {"classes": [0, 1]})


def test_the_rms_is_over_all_components():
    assert rms_from_statistics({"rms": 2.0}) == 2.0
    assert rms_from_statistics({"rms": [[3.0, 4.0], [0.0, 0.0]]}) == 2.5
    assert rms_from_statistics({}) is None
