"""Keep and seed the global random generators of torch (CPU), NumPy and Python."""

import hashlib
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["random_state_kept", "seed_sample"]


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Save the global generators of torch (CPU), NumPy and Python, and restore them on exit."""
    state = (
        torch.default_generator.get_state(),
        np.random.get_state(),  # noqa: NPY002 - transforms of users draw from it
        random.getstate(),
    )
    try:
        yield
    finally:
        torch.default_generator.set_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        random.setstate(state[2])


def seed_sample(seed: int, epoch: int, index: int) -> None:
    """Seed the global generators of torch (CPU), NumPy and Python for one sample."""
    key = struct.pack("<QQ", epoch, index) + str(seed).encode()
    one, two, three = struct.unpack("<QQI", hashlib.blake2b(key, digest_size=20).digest())
    # Not torch.manual_seed, which also seeds the generators of all devices, which the training uses.
    torch.default_generator.manual_seed(one)
    random.seed(two)
    np.random.seed(three)  # noqa: NPY002
