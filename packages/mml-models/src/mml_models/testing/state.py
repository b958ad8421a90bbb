"""Checks that an encoder can be copied, pickled, saved and loaded."""

from __future__ import annotations

import pickle
from copy import deepcopy

import torch
from torch import nn

from mml_models.testing.crystals import Crystal
from mml_models.testing.energy import Encoder, embed, require


def check_copies(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that copies of the encoder by deepcopy and by pickle return bitwise equal embeddings."""
    copies = {"deepcopy": deepcopy(encoder)}
    try:
        copies["pickle"] = pickle.loads(pickle.dumps(encoder))
    except Exception as error:
        raise AssertionError(f"The encoder cannot be pickled: {error}") from error
    for name, copy in copies.items():
        require(_same(encoder, copy, crystal, cutoff), f"A copy by {name} gives different embeddings")


def check_state_dict(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that loading the state_dict into an encoder with other parameters restores the embeddings.

    The embeddings must be bitwise equal.
    """
    if not isinstance(encoder, nn.Module):
        raise AssertionError(f"The encoder must be a torch.nn.Module, got a {type(encoder).__name__}")
    other = deepcopy(encoder)
    generator = torch.Generator().manual_seed(seed)
    for tensor in other.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape, generator=generator).to(tensor))
    require(not _same(encoder, other, crystal, cutoff), "Different parameters give the same embeddings")
    other.load_state_dict(encoder.state_dict())
    require(
        _same(encoder, other, crystal, cutoff),
        "An encoder with the same state_dict gives different embeddings",
    )


def _same(first: Encoder, second: Encoder, crystal: Crystal, cutoff: float) -> bool:
    points = [embed(encoder, [crystal], cutoff).point_embedding for encoder in (first, second)]
    return torch.equal(*points)
