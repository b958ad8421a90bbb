from __future__ import annotations

import pytest
import torch
from mml_models import PaiNN
from mml_models.painn import PaiNNUpdate
from mml_models.testing import crystal_batch, random_crystal

CUTOFF = 4.0


def small(**options):
    torch.manual_seed(0)
    return PaiNN(
        **{"hidden_dim": 10, "output_dim": 6, "num_conv": 2, "cutoff": CUTOFF, "num_radial": 6, **options}
    )


def test_vectors_rotate_with_crystal():
    update = PaiNNUpdate(4, keep_vectors=True).double()
    generator = torch.Generator().manual_seed(0)
    scalars = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    vectors = torch.randn(5, 3, 4, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    s, v = update(scalars, vectors)
    s_turned, v_turned = update(scalars, torch.einsum("xy,nyf->nxf", turn, vectors))
    torch.testing.assert_close(s_turned, s)
    torch.testing.assert_close(v_turned, torch.einsum("xy,nyf->nxf", turn, v))


def test_angles_change_embeddings():
    """One block of SchNet cannot distinguish three neighbors at the same distances but other angles."""
    encoder = small(num_conv=1).double()

    def star(angle):
        ends = torch.tensor([0.0, angle, 2.0], dtype=torch.float64)
        pos = torch.stack((ends.cos(), ends.sin(), torch.zeros(3)), dim=1)
        crystal = random_crystal(0, 1)
        numbers = torch.tensor([13, 29, 29, 29])
        return type(crystal)(numbers, torch.cat((torch.zeros(1, 3), pos)).double() * 2.0, None)

    # The cutoff of 2.1 leaves no edges between the neighbors.
    first, second = (
        encoder({**crystal_batch([star(a)], 2.1), "cutoff_radius": None}).point_embedding[0]
        for a in (0.9, 1.0)
    )
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_radial": 0}, "num_radial must be at least 1, got 0"),
        ({"num_conv": 0}, "num_conv must be at least 1, got 0"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
