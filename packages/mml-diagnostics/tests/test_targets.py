"""Target outliers name their sample. The usual spread of labels is not reported."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.checks.runner import NotApplicableError
from mml_diagnostics.checks.targets import target_outliers


def batch_of(energies, **more):
    n = len(energies)
    return {
        "sample_id": [f"s{i}" for i in range(n)],
        "targets": {"energy": torch.as_tensor(energies)[:, None], **more},
        "natoms": torch.full((n,), 2),
    }


@given(st.integers(0, 10**6), st.integers(0, 15), st.sampled_from([-1.0, 1.0]), st.floats(1e-3, 1e3))
def test_outlier_is_named_in_any_unit(seed, row, sign, unit):
    energies = torch.randn(16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    energies = energies.clamp(-2, 2)
    assert target_outliers(batch_of(unit * energies), limit=40.0) == []
    energies[row] = sign * 1e4
    (problem,) = target_outliers(batch_of(unit * energies))
    assert (problem.where, problem.severity) == (f"sample 's{row}'", "warning")
    assert f"Target energy of sample 's{row}'" in problem.message


def test_force_outlier_is_information():
    torch.manual_seed(0)
    forces = torch.randn(32, 3)
    assert target_outliers(batch_of(torch.randn(16), forces=forces)) == []
    forces[9] *= 1e3
    (problem,) = target_outliers(batch_of(torch.randn(16), forces=forces))
    assert (problem.where, problem.severity) == ("sample 's4'", "info")


def test_unused_labels_are_ignored():
    stress = torch.linspace(-1, 1, 16)[:, None]
    stress[3] = 1e4
    batch = batch_of(torch.linspace(-1, 1, 16), stress=stress)
    assert [problem.where for problem in target_outliers(batch)] == ["sample 's3'"]
    assert target_outliers(batch, learned=["energy"]) == []
    with pytest.raises(NotApplicableError):
        target_outliers(batch, learned=["force"])


def test_uninformative_targets_give_no_problem():
    assert target_outliers(batch_of(torch.tensor([0.0, 0.0, 1e9]))) == []  # too few
    assert target_outliers(batch_of(torch.ones(16))) == []  # all the same
    nan = torch.randn(16)
    nan[3] = torch.nan
    assert target_outliers(batch_of(nan)) == []  # GradientCheckCallback names it
    outlier = torch.randn(16)
    outlier[3] = 1e6
    assert [p.where for p in target_outliers({"y": outlier})] == ["row 3"]
    with pytest.raises(NotApplicableError, match="does not have floating-point targets"):
        target_outliers({"targets": {"kind": torch.tensor([1, 2])}})
    with pytest.raises(NotApplicableError, match="does not have floating-point targets"):
        target_outliers([torch.ones(3)])
