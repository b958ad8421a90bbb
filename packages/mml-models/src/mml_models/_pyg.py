"""The one place that imports torch_geometric: on first use, because that takes seconds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


def pyg_batch(samples: Sequence[Mapping[str, Any]]) -> Any:
    """Return a PyG `Batch` of graphs with the given attributes."""
    with _quiet():
        from torch_geometric.data import Batch, Data
    return Batch.from_data_list([Data(**sample) for sample in samples])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warning of torch 2.15 that PyG 2.8 uses `torch.jit.script`, and no other.

    The user can do nothing about it. It may go when PyG no longer calls `torch.jit` while it is imported.
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated", category=category)
        yield
