import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import Normalizer
from mml_tasks.normalization.normalizer import Normalizers
from mml_tasks.normalization.stored_statistics import Scale
from torch import nn

moderate = st.floats(-1e3, 1e3)


@given(mean=moderate, std=st.floats(1e-2, 1e3), per_atom=st.booleans(), values=st.lists(moderate, min_size=1))
def test_denorm_inverts_norm(mean, std, per_atom, values):
    normalizer = Normalizer(mean, std, per_atom).double()
    natoms = torch.arange(1, len(values) + 1)
    for x in (torch.tensor(values).double().view(-1, 1), torch.tensor(values).double().view(-1, 1, 1)):
        torch.testing.assert_close(
            normalizer.denorm(normalizer.norm(x, natoms), natoms), x, rtol=1e-9, atol=1e-8
        )
        torch.testing.assert_close(
            normalizer.norm(normalizer.denorm(x, natoms), natoms), x, rtol=1e-7, atol=1e-5
        )


def test_per_atom_shift_grows_with_structure():
    normalizer = Normalizer(mean=-3.0, std=2.0, per_atom=True)
    energies = normalizer.denorm(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 2]))
    assert energies.tolist() == [[-1.0], [-2.0]]


def test_structure_mean_needs_no_natoms():
    assert Normalizer(mean=1.0, std=4.0).norm(torch.tensor([[9.0]])).item() == 2.0


def test_state_dict_restores_normalizer():
    restored = Normalizer()
    restored.load_state_dict(Normalizer(-3.0, 2.0, per_atom=True).state_dict())
    x, natoms = torch.tensor([[5.0]]), torch.tensor([3])
    assert restored.norm(x, natoms).item() == 7.0
    assert restored.is_set
    assert "per_atom=True" in repr(restored)


@given(
    shape=st.sampled_from([(3,), (3, 3), (6,)]),
    kind=st.sampled_from(["both", "mean", "std"]),
    seed=st.integers(0, 10_000),
)
def test_arrays_normalize_components(shape, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    mean, std = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    mean = mean if kind != "std" else torch.tensor(0.3)
    std = std.abs() + 0.1 if kind != "mean" else torch.tensor(0.7)
    normalizer = Normalizer(mean.tolist(), std.tolist()).double()
    x = torch.randn(5, *shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(normalizer.norm(x), (x - mean) / std, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(normalizer.denorm(normalizer.norm(x)), x)
    restored = Normalizer()
    restored.load_state_dict(normalizer.state_dict())
    torch.testing.assert_close(restored.double().norm(x), normalizer.norm(x))


@given(
    references=st.dictionaries(st.integers(1, 118), moderate, min_size=1, max_size=5),
    std=st.floats(1e-2, 1e3),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 10_000),
)
def test_references_are_summed_by_structure(references, std, sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    normalizer = Normalizer(std=std, references=references).double()
    kinds = torch.tensor(sorted(references))
    numbers = kinds[torch.randint(0, len(kinds), (sum(sizes),), generator=generator)]
    natoms = torch.tensor(sizes)
    x = 100 * torch.randn(len(sizes), 1, generator=generator, dtype=torch.float64)
    sums = [sum(references[int(z)] for z in part) for part in numbers.split(sizes)]
    expected = (x - torch.tensor(sums, dtype=torch.float64).view(-1, 1)) / std
    torch.testing.assert_close(normalizer.norm(x, natoms, numbers), expected, rtol=1e-4, atol=1e-1)
    back = normalizer.denorm(normalizer.norm(x, natoms, numbers), natoms, numbers)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-8)
    restored = Normalizer()
    restored.load_state_dict(normalizer.state_dict())
    assert restored.numbers() == Normalizer(std=std, references=references).numbers()
    assert restored.unknown_elements(numbers) == []


@pytest.mark.parametrize(
    "options", [{"mean": -3.0}, {"mean": -3.0, "per_atom": True}, {"references": {1: -13.6, 8: -2.0}}]
)
def test_atom_shares_sum_to_structure(options):
    normalizer, natoms = Normalizer(std=1.7, **options).double(), torch.tensor([3, 1, 2])
    numbers, x = torch.tensor([1, 8, 1, 8, 8, 1]), torch.randn(6, 1, dtype=torch.float64)
    sums = torch.stack([part.sum(0) for part in x.split(natoms.tolist())])
    shares = normalizer.denorm_nodes(x, natoms, numbers)
    totals = torch.stack([part.sum(0) for part in shares.split(natoms.tolist())])
    torch.testing.assert_close(totals, normalizer.denorm(sums, natoms, numbers))


def test_unknown_elements_are_named():
    normalizer = Normalizer(references={1: -13.6})
    assert normalizer.unknown_elements(torch.tensor([1, 92, 26, 1])) == ["Fe", "U"]
    assert normalizer.unknown_elements(torch.tensor([0, 1, 300])) == ["atomic number 0", "atomic number 300"]
    assert not torch.isfinite(
        normalizer.denorm(torch.zeros(1, 1), torch.tensor([1]), torch.tensor([26]))
    ).any()
    assert Normalizer(1.0).unknown_elements(torch.tensor([300])) == []


@pytest.mark.parametrize("change", [nn.Module.half, nn.Module.float, nn.Module.double, nn.Module.bfloat16])
def test_statistics_stay_in_float64(change):
    normalizer = change(Normalizer(-3.2001, 0.7003, per_atom=True))
    assert normalizer.mean.dtype == normalizer.std.dtype == torch.float64
    assert normalizer.mean.item() == -3.2001


@pytest.mark.parametrize("options", [{"references": {79: -5e5}}, {"mean": -5e5, "per_atom": True}])
def test_large_energies_keep_small_differences(options):
    natoms = torch.tensor([100])
    numbers = torch.full((100,), 79)
    energy = torch.tensor([[-5e7 + 1e-3]], dtype=torch.float64)
    normalizer = Normalizer(std=1e-2, **options)
    normalized = normalizer.norm(energy, natoms, numbers)
    assert normalized.item() == pytest.approx(0.1, abs=1e-5)
    found = normalizer.denorm(normalized.float(), natoms, numbers)
    assert found.dtype == torch.float64
    assert found.item() + 5e7 == pytest.approx(1e-3, abs=1e-7)


def test_statistics_stay_on_host_without_float64(monkeypatch):
    monkeypatch.setattr(
        "mml_tasks.normalization.normalizer.supports_float64", lambda device: device.type == "cpu"
    )
    normalizer = Normalizer(-3.0, 2.0).to("meta")
    assert normalizer.mean.device.type == "cpu"
    assert normalizer.norm(torch.ones(1, 1)).item() == 2.0


def test_older_checkpoints_load():
    state = Normalizer(-3.0, 2.0, per_atom=True).state_dict()
    del state["references"]
    restored = Normalizer()
    restored.load_state_dict(state)
    assert restored.norm(torch.tensor([[5.0]]), torch.tensor([3])).item() == 7.0


def test_arrays_of_extensive_targets_are_refused():
    with pytest.raises(ValueError, match="a sum over atoms must have one mean and one standard deviation"):
        Normalizer([1.0, 2.0], 1.0, per_atom=True)
    with pytest.raises(ValueError, match="must be a number or an array, got 'x'"):
        Normalizer("x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Pass natoms and atomic_numbers"):
        Normalizer(references={1: 1.0}).norm(torch.ones(1, 1), torch.tensor([1]))


@pytest.mark.parametrize("std", [[1.0, 0.0, 1.0], [1.0, math.nan, 1.0]])
def test_invalid_component_is_refused(std):
    with pytest.raises(ValueError, match="finite and positive, got"):
        Normalizer([0.0] * 3, std)


def test_per_atom_shift_requires_natoms():
    with pytest.raises(ValueError, match="Pass natoms"):
        Normalizer(1.0, 1.0, per_atom=True).norm(torch.ones(2, 1))


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_invalid_std_is_refused(std):
    with pytest.raises(ValueError, match="finite and positive, got"):
        Normalizer(0.5, std)


def test_infinite_mean_is_refused():
    with pytest.raises(ValueError, match="mean of a normalizer must be finite, got nan"):
        Normalizer(math.nan)


def test_error_names_target():
    with pytest.raises(ValueError, match=r"target 'band_gap': .* got 0\.0"):
        Normalizers({"band_gap": Normalizer()}).set_scales({"band_gap": Scale(mean=1.0, std=0.0)})


def test_other_targets_are_unchanged():
    x = torch.randn(3, 7)
    normalizers = Normalizers({"energy": Normalizer(1.0, 2.0)})
    assert normalizers.norm("label", x, None) is x
    assert normalizers.denorm("label", x, None) is x
    assert normalizers.unset() == []
