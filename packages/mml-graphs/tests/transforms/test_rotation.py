import numpy as np
import pytest
import torch
from mml_graphs.transforms._rotation import random_rotation, rotated


def test_random_rotations_are_uniform():
    generator = torch.Generator().manual_seed(0)
    rotations = torch.stack([random_rotation(generator) for _ in range(4000)])
    torch.testing.assert_close(
        rotations @ rotations.mT, torch.eye(3, dtype=torch.float64).expand_as(rotations)
    )
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(4000, dtype=torch.float64))
    # Uniform: each entry has mean 0 and variance 1/3; the trace is 1 + 2 cos(angle), whose mean is 0.
    assert rotations.mean(dim=0).abs().max() < 0.05
    assert (rotations.var(dim=0) - 1 / 3).abs().max() < 0.03
    assert abs(rotations.diagonal(dim1=1, dim2=2).sum(dim=1).mean()) < 0.06


def test_vectors_and_stress_turn_with_positions():
    q = random_rotation(torch.Generator().manual_seed(0))
    stress = torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=torch.float64)
    full = torch.tensor([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]], dtype=torch.float64)
    pos, force = torch.eye(3, dtype=torch.float64), torch.arange(9.0).reshape(3, 3)
    targets = {"force": force, "stress": stress, "energy": 1.0}
    sample = {"atomic_numbers": np.ones(3, dtype=int), "pos": pos, "targets": targets}
    result = rotated(sample, q)
    torch.testing.assert_close(result["pos"], pos @ q)
    torch.testing.assert_close(result["targets"]["force"], force.double() @ q)
    turned = q.T @ full @ q
    torch.testing.assert_close(result["targets"]["stress"], turned[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
    assert result["targets"]["energy"] == 1.0
    assert sample["targets"]["force"] is force


def test_vectors_of_another_shape_raise():
    sample = {"atomic_numbers": [1], "pos": [[0.0, 0, 0]], "targets": {"force": torch.zeros(1, 2)}}
    with pytest.raises(ValueError, match=r"'force' has shape \[1, 2\], expected vectors"):
        rotated(sample, torch.eye(3, dtype=torch.float64))
