from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from correct_encoder import Correct
from mml_models.testing import (
    CHECKS,
    check_encoder,
    compiled,
    derivatives,
    execution,
    locality,
    random_crystal,
    state,
    symmetry,
)

COMPILED = {"compile", "compiled_second_derivatives"}  # slow, so only the test with three atoms runs them


def test_correct_encoder_passes():
    check_encoder(Correct(), random_crystal(2, 3))


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_correct_encoder_passes_for_any_size(seed):
    check_encoder(Correct(), random_crystal(seed, 1 + seed % 4), skip=COMPILED)


def test_correct_encoder_passes_on_molecule():
    check_encoder(Correct(), replace(random_crystal(3, 4), cell=None), skip=COMPILED)


def test_suite_runs_every_check():
    modules = (compiled, derivatives, execution, locality, state, symmetry)
    written = {name for module in modules for name in vars(module) if name.startswith("check_")}
    assert written == {check.__name__ for check in CHECKS.values()} == {f"check_{name}" for name in CHECKS}


def test_skipped_checks_are_not_run():
    encoder = Correct()
    encoder.output_dim = 4
    with pytest.raises(AssertionError, match=r"system_embedding has shape \[2, 3\], expected \[2, 4\]"):
        check_encoder(encoder)
    check_encoder(encoder, skip=["output", *COMPILED])


def test_encoder_is_not_modified():
    encoder = Correct()
    before = deepcopy(encoder.state_dict())
    check_encoder(encoder)
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match=r"skip has unknown checks \['mirror'\], known are output,"):
        check_encoder(Correct(), skip=["mirror"])
    encoder = Correct()
    with pytest.raises(ValueError, match=r"no edges within 0.5 angstrom"):
        check_encoder(encoder, cutoff=0.5)
    del encoder.cutoff
    with pytest.raises(ValueError, match=r"Correct has no attribute 'cutoff'"):
        check_encoder(encoder)
