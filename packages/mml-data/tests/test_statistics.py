from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_data.store.statistics import DatasetStatistics


def statistics(samples):
    collected = DatasetStatistics()
    for sample in samples:
        collected.add(sample)
    return collected.result()


def test_statistics_equal_numpy(samples):
    result = statistics(samples)
    num_atoms = np.array([len(sample["pos"]) for sample in samples])
    energy = np.array([sample["targets"]["energy"] for sample in samples])
    force = np.concatenate([sample["targets"]["force"] for sample in samples]).astype(float)
    assert result["count"] == 20
    assert result["natoms"] == {
        "min": num_atoms.min(),
        "mean": pytest.approx(num_atoms.mean()),
        "max": num_atoms.max(),
    }
    assert sum(result["elements"].values()) == num_atoms.sum()
    assert result["elements"].get("Fe", 0) == sum(
        (sample["atomic_numbers"] == 26).sum() for sample in samples
    )
    targets = result["targets"]
    fit = {key: targets["energy"].pop(key) for key in ("reference_energies", "reference_rank")}
    assert targets["energy"].pop("per_atom_residual_std") >= 0
    assert fit["reference_rank"] <= len(fit["reference_energies"]) == len(result["elements"])
    assert targets["energy"] == {
        "mean": pytest.approx(energy.mean()),
        "std": pytest.approx(energy.std()),
        "rms": pytest.approx(np.sqrt((energy**2).mean())),
        "min": energy.min(),
        "max": energy.max(),
        "count": 20,
        "per_atom_mean": pytest.approx((energy / num_atoms).mean()),
        "per_atom_std": pytest.approx((energy / num_atoms).std()),
    }
    assert targets["force"]["count"] == force.size
    assert targets["force"]["rms"] == pytest.approx(np.sqrt((force**2).mean()))
    assert "per_atom_mean" not in targets["force"]
    assert targets["system"] == {"classes": [0, 1, 2], "class_counts": [7, 7, 6], "count": 20}


def one(num_atoms=1, **targets):
    return {"atomic_numbers": np.ones(num_atoms, int), "targets": targets}


def test_target_types_determine_statistics():
    targets = statistics(
        [one(stable=True, gap=0, label=torch.tensor(5)), one(stable=False, gap=0.5, label=5)]
    )["targets"]
    assert targets["stable"] == {"classes": [0, 1], "class_counts": [1, 1], "count": 2}
    assert targets["label"] == {"classes": [5], "class_counts": [2], "count": 2}
    assert (targets["gap"]["mean"], targets["gap"]["count"]) == (0.25, 2)
    regression = {**one(steps=3), "target_types": {"regression": ["steps"]}}
    assert statistics([regression])["targets"]["steps"]["mean"] == 3.0


def test_missing_labels_stay_classes():
    types = {"target_types": {"classification": ["magnetic"]}}
    samples = [{**one(magnetic=value), **types} for value in (1, float("nan"), 0, 1)]
    assert statistics(samples)["targets"]["magnetic"] == {
        "classes": [0, 1],
        "class_counts": [1, 2],
        "count": 3,
        "missing": 1,
        "missing_structures": 1,
    }


def test_missing_values_are_counted():
    targets = statistics([one(gap=float("nan")), one(gap=2.0), one()])["targets"]
    assert (targets["gap"]["mean"], targets["gap"]["count"], targets["gap"]["missing"]) == (2.0, 1, 2)
    assert statistics([one(gap=float("nan"))])["targets"]["gap"] == {
        "count": 0,
        "missing": 1,
        "missing_structures": 1,
    }


def test_missing_components_count_structure_once():
    forces = [np.full((num_atoms, 3), float(num_atoms)) for num_atoms in (1, 2, 3, 4)]
    forces[1][0, 2] = forces[3][:] = np.nan
    samples = [one(num_atoms=len(force), force=force) for force in forces]
    first, second = DatasetStatistics(), DatasetStatistics()
    for sample in samples[:2]:
        first.add(sample)
    for sample in samples[2:]:
        second.add(sample)
    first.merge(second)
    for about in (statistics(samples), first.result()):
        force = about["targets"]["force"]
        assert (force["count"], force["missing"], force["missing_structures"]) == (17, 13, 2)


def test_per_atom_target_has_no_per_atom_mean():
    targets = statistics([one(charge=np.zeros(1)), one(2, charge=np.zeros(2))])["targets"]
    assert "per_atom_mean" not in targets["charge"]


def test_sample_without_atoms_raises():
    with pytest.raises(ValueError, match="mine/3 has no 'atomic_numbers', which statistics need"):
        statistics([{"sample_id": "mine/3", "pos": 1}])


@settings(max_examples=20)
@given(st.lists(st.integers(0, 39), max_size=4), st.integers(0, 5))
def test_merged_statistics_equal_whole(cuts, seed):
    rng = np.random.default_rng(seed)
    everything = [
        {
            "atomic_numbers": rng.integers(1, 6, rng.integers(1, 5)),
            "targets": {
                "energy": float(rng.normal()) if rng.random() < 0.9 else float("nan"),
                "label": int(rng.integers(0, 3)),
                "charge": rng.normal(size=3),
            },
        }
        for _ in range(40)
    ]
    edges = [0, *sorted(cuts), 40]
    merged = DatasetStatistics()
    for start, end in pairwise(edges):
        part = DatasetStatistics()
        for sample in everything[start:end]:
            part.add(sample)
        merged.merge(part)
    assert_close(merged.result(), statistics(everything))


def assert_close(left, right):
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_close(left[key], right[key])
    else:
        assert left == pytest.approx(right, rel=1e-9, abs=1e-9)


def test_spectra_have_moments_of_points():
    spectra = np.random.default_rng(0).normal(size=(300, 1, 4))  # more than one block
    spectra[3, 0, 2] = np.nan
    parts = [DatasetStatistics(), DatasetStatistics()]
    for index, spectrum in enumerate(spectra):
        targets = {"dos": spectrum, "force": np.zeros((2, 3))}
        parts[index % 2].add({"atomic_numbers": np.array([1, 2]), "targets": targets})
    parts[0].merge(parts[1])
    found = parts[0].result()["targets"]
    np.testing.assert_allclose(found["dos"]["bin_mean"], np.nanmean(spectra[:, 0], axis=0))
    np.testing.assert_allclose(found["dos"]["bin_std"], np.nanstd(spectra[:, 0], axis=0))
    assert (found["dos"]["missing"], found["dos"]["missing_structures"]) == (1, 1)
    assert "bin_mean" not in found["force"]
    parts[0].add({"atomic_numbers": np.array([1]), "targets": {"dos": np.zeros((1, 3))}})
    assert "bin_mean" not in parts[0].result()["targets"]["dos"]
