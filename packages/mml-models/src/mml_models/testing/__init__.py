"""Checks that every encoder must pass, for encoders of this and of other packages."""

from mml_models.testing.crystals import Crystal, crystal_batch, random_crystal, supercell
from mml_models.testing.suite import CHECKS, check_encoder

__all__ = ["CHECKS", "Crystal", "check_encoder", "crystal_batch", "random_crystal", "supercell"]
