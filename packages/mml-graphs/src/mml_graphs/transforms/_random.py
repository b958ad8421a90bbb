"""Where random transforms draw from."""

from __future__ import annotations

import hashlib

import torch


def check_seed(seed: int | None) -> int | None:
    """Check a seed.

    Raises
    ------
    ValueError
        If it is neither None nor an integer from 0 up to 2**63.
    """
    if seed is None or (type(seed) is int and 0 <= seed < 2**63):
        return seed
    raise ValueError(f"seed is {seed!r}, expected None or an integer that is not negative")


def generator_for(positions: torch.Tensor, seed: int | None) -> torch.Generator:
    """Return a generator of its own for one call of a random transform.

    Without a seed, its seed is one draw from torch's global generator, which the data modules of mml-data
    seed for each sample and epoch, and ``torch.manual_seed`` makes repeatable. With a seed, only the
    positions of the sample and the seed matter: the same sample gets the same numbers in every epoch, in any
    order and worker, and the global generator is not touched.

    Parameters
    ----------
    positions
        [N, 3], which sample it is.
    seed
        A seed, or None.

    Returns
    -------
    Generator
        On the CPU.
    """
    if seed is None:
        drawn = int(torch.randint(2**63 - 1, ()))
    else:
        content = positions.detach().cpu().contiguous().numpy().tobytes()
        digest = hashlib.blake2b(content, digest_size=8, key=seed.to_bytes(8, "little")).digest()
        drawn = int.from_bytes(digest, "little") >> 1
    return torch.Generator().manual_seed(drawn)
