import numpy as np
import pytest
import torch
from mml_tasks.normalization.stored_statistics import (
    NormalizeOptions,
    Scale,
    rms_from_statistics,
    scale_from_statistics,
    scales_from_kwargs,
)


def test_names_are_grouped_by_target():
    scales = scales_from_kwargs(
        {"energy_per_atom_mean": -3.0, "energy_per_atom_std": 0.5, "stress_std": 0.1},
        ["energy", "force", "stress"],
        ["energy"],
    )
    assert scales == {"energy": Scale(-3.0, 0.5, True), "stress": Scale(None, 0.1, False)}


def test_per_atom_in_target_name_is_kept():
    scales = scales_from_kwargs({"energy_per_atom_mean": 1.0}, ["energy_per_atom"])
    assert scales == {"energy_per_atom": Scale(mean=1.0)}


def test_unknown_names_list_known_names():
    with pytest.raises(ValueError, match=r"unknown names \['enrgy_mean'\], expected some of .*'energy_mean'"):
        scales_from_kwargs({"enrgy_mean": 1.0}, ["energy"])


def test_per_atom_mean_requires_extensive_target():
    with pytest.raises(ValueError, match="unknown names"):
        scales_from_kwargs({"band_gap_per_atom_mean": 1.0}, ["band_gap"])


def test_two_means_are_refused():
    with pytest.raises(ValueError, match="energy_mean both in total and per atom"):
        scales_from_kwargs({"energy_mean": 1.0, "energy_per_atom_mean": 1.0}, ["energy"], ["energy"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"force_std": "large"},
            "force_std must be a number or an array in the shape of the target's components, got 'large'",
        ),
        ({"force_std": [1.0, None]}, r"array in the shape of the target's components, got \[1.0, None\]"),
        ({"energy_std": [1.0, 2.0]}, r"energy_std must be a number, got \[1.0, 2.0\]"),
        ({"energy_reference": 3.0}, r"energy_reference must be \"auto\" or a dict such as"),
        ({"energy_reference": {}}, "energy_reference must be"),
        ({"energy_reference": {"Xx": 1.0}}, "'Xx' is not a chemical element"),
        ({"energy_reference": {0: 1.0}}, "0 is not a chemical element"),
        ({"energy_reference": {"Al": float("nan")}}, "energy_reference of Al must be finite, got nan"),
        ({"energy_reference": {"Al": 1.0, "13": 2.0}}, "has the same element by symbol and by number"),
        ({"force_reference": {"Al": 1.0}}, r"unknown names \['force_reference'\]"),
        (
            {"energy_reference": {"Al": 1.0}, "energy_mean": 1.0},
            "both a mean and reference energies of energy",
        ),
    ],
)
def test_invalid_values_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        scales_from_kwargs(kwargs, ["energy", "force"], ["energy"])


def test_arrays_become_plain_numbers():
    scales = scales_from_kwargs(
        {
            "energy_reference": {"Al": -3, 8: np.float32(-4.5), "29": -1.0},
            "force_std": torch.tensor([1.0, 2.0, 3.0]),
            "stress_std": np.ones((3, 3)),
        },
        ["energy", "force", "stress"],
        ["energy"],
    )
    assert scales["energy"] == Scale(references={13: -3.0, 8: -4.5, 29: -1.0})
    assert scales["force"] == Scale(std=[1.0, 2.0, 3.0])
    assert scales["stress"].std == [[1.0] * 3] * 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Auto", "must be a dict, \"auto\" or None, got 'Auto'"),
        (3, "must be a dict"),
        ({"override": 1}, r"normalize_kwargs\['override'\] must be True or False, got 1"),
        ({"auto": "yes"}, r"\['auto'\] must be True or False"),
        ({"max_samples": 0}, r"\['max_samples'\] must be a positive integer, got 0"),
        ({"max_samples": True}, "positive integer"),
    ],
)
def test_invalid_options_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        NormalizeOptions.of(value)


def test_options_are_separated():
    assert NormalizeOptions.of({"auto": True, "force_std": 2.0, "max_samples": 5}) == NormalizeOptions(
        {"force_std": 2.0}, auto=True, max_samples=5
    )
    assert NormalizeOptions.of("auto").auto
    assert not NormalizeOptions.of(None).auto


def test_given_statistics_replace_others():
    data = Scale(-3.0, 0.5, True, source="data", count=7)
    assert data.updated(Scale()) == data
    assert data.updated(Scale(std=2.0)) == Scale(-3.0, 2.0, True, source="normalize_kwargs and data", count=7)
    assert data.updated(Scale(-1.0, 2.0, False)) == Scale(-1.0, 2.0, False)
    assert data.updated(Scale(references={1: -13.6})).mean is None


def test_scale_is_total_or_per_atom():
    statistics = {"mean": 1.0, "std": 2.0, "per_atom_mean": 3.0, "per_atom_std": 4.0, "count": 9}
    said = {"source": "the data module's target_statistics()", "count": 9}
    assert scale_from_statistics("energy", statistics) == Scale(1.0, 2.0, False, **said)
    assert scale_from_statistics("energy", statistics, per_atom=True) == Scale(3.0, 4.0, True, **said)
    arrays = {"mean": [1.0, 2.0], "std": [3.0, 4.0], "source": "a file"}
    assert scale_from_statistics("moment", arrays) == Scale([1.0, 2.0], [3.0, 4.0], source="a file")


def test_scale_has_references_and_residual():
    statistics = {"per_atom_mean": 3.0, "per_atom_std": 4.0, "reference_energies": {"H": -1.0}}
    scale = scale_from_statistics("energy", statistics, per_atom=True, references=True)
    assert (scale.mean, scale.std, scale.references) == (None, 4.0, {1: -1.0})
    statistics["per_atom_residual_std"] = 0.1
    assert scale_from_statistics("energy", statistics, per_atom=True, references=True).std == 0.1


def test_unlabeled_target_is_refused():
    with pytest.raises(ValueError, match="'gap' is missing in every sample of the training data"):
        scale_from_statistics("gap", {"count": 0, "missing": 12})


def test_incomplete_statistics_are_refused():
    with pytest.raises(ValueError, match="'mean' of target 'label', but the data module provides only"):
        scale_from_statistics("label", {"classes": [0, 1]})


def test_rms_covers_all_components():
    assert rms_from_statistics({"rms": 2.0}) == 2.0
    assert rms_from_statistics({"rms": [[3.0, 4.0], [0.0, 0.0]]}) == 2.5
    assert rms_from_statistics({}) is None
