"""What holds for every encoder of the package."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models import EGNN, MEGNet, PaiNN, SchNet
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal
from torch import nn

CUTOFF = 4.0
crystals = st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 4))
SIZES = {
    EGNN: {"hidden_dim": 12, "num_gaussians": 8},
    MEGNet: {"hidden_dim": 8, "num_conv": 2, "num_gaussians": 8},
    PaiNN: {"hidden_dim": 10, "num_conv": 2, "num_radial": 6},
    SchNet: {"hidden_dim": 12, "num_gaussians": 8},
}
OPTIONS = [
    *((encoder, {"reduction": "mean"}) for encoder in SIZES),
    *((encoder, {"num_conv": 1}) for encoder in SIZES),
    (EGNN, {"update_coords": False}),
    (EGNN, {"activation": "Tanh"}),
    (MEGNet, {"reduction": "set2set"}),
    (PaiNN, {"num_conv": 3}),
]
NOT_CLAIMED = {MEGNet: {"given_edges"}}  # every atom of a structure sees the others
every_encoder = pytest.mark.parametrize("encoder", SIZES)


def small(encoder, **options):
    """A small one in float64, the atoms of an EGNN moving far, so that a fault in the displacements shows."""
    torch.manual_seed(0)
    made = encoder(**{"output_dim": 6, "cutoff": CUTOFF, **SIZES[encoder], **options}).double()
    for name, parameter in made.named_parameters():
        if "displace.2" in name:
            nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize(
    ("encoder", "name"),
    [(x, name) for x in SIZES for name in CHECKS if name not in {"compile", *NOT_CLAIMED.get(x, ())}],
)
def test_passes_the_suite(encoder, name):
    @settings(max_examples=15, deadline=None)
    @given(crystals, st.integers(0, 1000))
    def check(crystal, seed):
        CHECKS[name](made, crystal, CUTOFF, seed)

    made = small(encoder)
    check()


@every_encoder
def test_compiled_it_is_the_same(encoder):
    CHECKS["compile"](small(encoder), random_crystal(2), CUTOFF, 0)


@pytest.mark.parametrize(("encoder", "options"), OPTIONS)
def test_passes_the_suite_with_other_options(encoder, options):
    check_encoder(
        small(encoder, **options), random_crystal(2), skip={"compile", *NOT_CLAIMED.get(encoder, ())}
    )


@pytest.mark.parametrize(("encoder", "options"), [*((x, {}) for x in SIZES), *OPTIONS])
def test_every_parameter_is_trained(encoder, options):
    made = small(encoder, **options)
    found = made(crystal_batch([random_crystal(0)], CUTOFF))
    (found.system_embedding.square().sum() + found.point_embedding.square().sum()).backward()
    unused = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []
