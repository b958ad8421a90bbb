"""Tests of Allegro alone. `test_nequip.py` contains the tests that it shares with NequIP."""

from __future__ import annotations

import pytest
import torch
from mml_models import Allegro
from mml_models.optional import is_installed
from mml_models.testing import check_encoder, random_crystal

pytestmark = pytest.mark.skipif(not is_installed("nequip"), reason="mml-models[nequip] is not installed")


def small(**options):
    torch.manual_seed(0)
    sizes = {"hidden_dim": 4, "num_conv": 2, "num_radial": 4, "cutoff": 4.0, "elements": [13, 29, 79]}
    return Allegro(**{**sizes, **options})


def test_other_options_pass_suite():
    encoder = small(l_max=2, parity=False, num_tensor=3, num_conv=1)
    check_encoder(encoder, random_crystal(2), skip={"compile", "compiled_second_derivatives"})


@pytest.mark.parametrize("num_conv", [1, 2])
def test_embedding_has_scalars_of_every_layer(num_conv):
    assert small(num_conv=num_conv).output_dim == 4 * (num_conv + 1)


def test_invalid_number_of_tensor_features_raises():
    with pytest.raises(ValueError, match="num_tensor must be at least 1, got 0"):
        small(num_tensor=0)
