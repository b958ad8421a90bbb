from __future__ import annotations

import pytest
import torch
from correct_encoder import CUTOFF, Correct
from mml_models.testing import crystal_batch, random_crystal
from mml_models.testing.energy import (
    embed,
    energy,
    forces,
    points_and_forces,
    position_gradient,
    readout,
    require,
    require_close,
)


def test_require_raises_message():
    require(True, "never raised")
    with pytest.raises(AssertionError, match=r"^the message$"):
        require(False, "the message")


@pytest.mark.parametrize(("size", "allowed"), [(10.0, 1e-3), (0.0, 1e-6)])
def test_tolerance_is_relative_with_floor(size, allowed):
    """The tolerance is 1e-4 of the largest value, or of 0.01 if that value is smaller."""
    expected = torch.tensor([size, 0.0], dtype=torch.float64)
    require_close(expected + 0.9 * allowed, expected, "Values", 1e-4)
    with pytest.raises(AssertionError, match=r"^Values differ by 0\.00011, more than 0\.0001$"):
        require_close(expected + 1.1 * allowed, expected, "Values", 1e-4)


def test_different_shapes_raise():
    with pytest.raises(AssertionError, match=r"^Values: shapes \[2\] and \[2, 1\] differ$"):
        require_close(torch.zeros(2), torch.zeros(2, 1), "Values")
    require_close(torch.zeros(0, 3), torch.zeros(0, 3), "Values")


def test_undefined_values_raise():
    with pytest.raises(AssertionError, match="differ by nan"):
        require_close(torch.tensor([torch.nan]), torch.zeros(1), "Values")


def test_readout_is_fixed_and_additive():
    points = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(readout(points), readout(points[:1]) + readout(points[1:]))
    assert torch.equal(readout(points), readout(points))
    assert not torch.equal(readout(points), readout(points.flip(1)))


def test_forces_of_one_and_of_many_agree():
    encoder, crystal = Correct().double(), random_crystal(1)
    batch = crystal_batch([crystal], CUTOFF)
    points, found = points_and_forces(encoder, batch)
    assert torch.equal(points, embed(encoder, [crystal], CUTOFF).point_embedding.detach())
    assert energy(encoder, crystal, CUTOFF) == float(readout(points))
    expected = forces(encoder, crystal, CUTOFF)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(-position_gradient(encoder, batch, create_graph=True).detach(), expected)
    assert expected.abs().max() > 0


def test_constant_energy_has_zero_gradient():
    class Constant(Correct):
        def messages(self, graph, center, neighbor, vectors):
            return vectors.new_zeros(len(center), 3)

    gradient = position_gradient(
        Constant().double(), crystal_batch([random_crystal(1)], CUTOFF), create_graph=False
    )
    assert not gradient.any()
