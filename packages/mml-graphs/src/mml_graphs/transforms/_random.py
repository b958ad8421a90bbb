"""Provide the random number generators of the random transforms."""

from __future__ import annotations

import hashlib

import torch


def check_seed(seed: int | None) -> int | None:
    """Check a seed and return it.

    Raises
    ------
    ValueError
        If the seed is neither ``None`` nor an integer from 0 to 2**63 - 1.
    """
    if seed is None or (type(seed) is int and 0 <= seed < 2**63):
        return seed
    raise ValueError(f"seed must be None or a non-negative integer, got {seed!r}")


def generator_for(positions: torch.Tensor, seed: int | None) -> torch.Generator:
    """Return a new generator for one call of a random transform.

    Without a seed, the generator is seeded by one draw from torch's global generator, which the data modules
    of mml-data seed for each sample and epoch, and which ``torch.manual_seed`` makes reproducible. With a
    seed, the generator depends only on the positions of the sample and the seed. The same sample then gets
    the same numbers in every epoch, in any order and in any worker, and the global generator is not used.

    Parameters
    ----------
    positions
        [N, 3], positions that identify the sample.
    seed
        Seed, or ``None``.

    Returns
    -------
    Generator
        Generator on the CPU.
    """
    if seed is None:
        drawn = int(torch.randint(2**63 - 1, ()))
    else:
        content = positions.detach().cpu().contiguous().numpy().tobytes()
        digest = hashlib.blake2b(content, digest_size=8, key=seed.to_bytes(8, "little")).digest()
        drawn = int.from_bytes(digest, "little") >> 1
    return torch.Generator().manual_seed(drawn)
