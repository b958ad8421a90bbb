import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks.normalization.running_statistics import Moments, ReferenceFit, TargetStatistics

numbers = st.floats(-1e6, 1e6)


@given(
    blocks=st.lists(st.lists(numbers, max_size=6), min_size=1, max_size=6).filter(any), cut=st.integers(0, 6)
)
def test_moments_of_parts_merge_to_those_of_the_whole(blocks, cut):
    parts = Moments(), Moments()
    for index, block in enumerate(blocks):
        parts[index >= cut].add(torch.tensor(block))
    parts[0].merge(parts[1])
    values = np.concatenate([np.asarray(block, dtype=np.float32) for block in blocks]).astype(np.float64)
    assert parts[0].count == len(values)
    assert parts[0].mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)
    assert parts[0].std == pytest.approx(values.std(), rel=1e-9, abs=1e-6)
    assert parts[0].rms == pytest.approx(np.sqrt((values**2).mean()), rel=1e-9, abs=1e-6)


def test_a_large_offset_costs_no_digits():
    values = torch.linspace(0, 1e-3, 1000, dtype=torch.float64) + 1e6
    moments = Moments()
    for part in values.split(7):
        moments.add(part)
    assert moments.std == pytest.approx(values.numpy().std(), rel=1e-4)


def structures(seed: int, count: int, elements: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    composition = torch.zeros(count, 119)
    composition[:, elements] = torch.randint(0, 5, (count, len(elements)), generator=generator).float()
    composition[:, elements[0]] += 1
    return composition, -100 * torch.rand(count, generator=generator, dtype=torch.float64)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30), kinds=st.integers(1, 5), cut=st.integers(0, 30))
def test_references_are_the_least_squares_of_smallest_norm(seed, count, kinds, cut):
    """Against numpy, which works on the structures and not on sums over them; also where they are too few."""
    elements = [3, 8, 15, 16, 92][:kinds]
    composition, energy = structures(seed, count, elements)
    first, second = ReferenceFit(), ReferenceFit()
    first.add(composition[:cut], energy[:cut])
    second.add(composition[cut:], energy[cut:])
    first.merge(second)
    found, rank, rms = first.solve()
    seen = [z for z in elements if composition[:, z].any()]
    matrix = composition[:, seen].double().numpy()
    expected, _, expected_rank, _ = np.linalg.lstsq(matrix, energy.numpy(), rcond=1e-9)
    assert list(found) == seen
    assert rank == expected_rank
    assert list(found.values()) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    left = (energy.numpy() - matrix @ expected) / matrix.sum(axis=1)
    assert rms == pytest.approx(np.sqrt((left**2).mean()), rel=1e-4, abs=1e-4)


def test_one_composition_determines_one_number():
    """Frames of one simulation: the references are not energies of atoms, but their sums fit."""
    composition = torch.zeros(5, 119)
    composition[:, [3, 16]] = torch.tensor([2.0, 1.0])
    fit = ReferenceFit()
    fit.add(composition, torch.full((5,), -10.0, dtype=torch.float64))
    references, rank, rms = fit.solve()
    assert rank == 1
    assert references == pytest.approx({3: -4.0, 16: -2.0})
    assert rms == 0.0


def test_statistics_of_batches_are_those_of_their_targets(batch):
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


def test_a_target_without_labels_has_no_numbers(batch):
    batch["targets"] = {"energy": torch.full((5, 1), torch.nan)}
    statistics = TargetStatistics(["energy"])
    statistics.add(batch)
    assert statistics.result("here") == {"energy": {"count": 0, "missing": 5, "source": "here"}}


def test_bad_labels_and_elements_are_refused(batch):
    statistics = TargetStatistics(["energy"])
    batch["graph"].atomic_numbers[0] = 200
    with pytest.raises(ValueError, match=r"atomic numbers go from .* to 200"):
        statistics.add(batch)
    batch["targets"]["energy"][2] = torch.inf
    with pytest.raises(ValueError, match="'energy' is inf in sample 'toy/000002'"):
        statistics.add(batch)
