"""Import torch_geometric on first use, because its import takes seconds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


def pyg_batch(samples: Sequence[Mapping[str, Any]]) -> Any:
    """Return a PyG `Batch` with one graph per dict of attributes."""
    with _quiet():
        from torch_geometric.data import Batch, Data
    return Batch.from_data_list([Data(**sample) for sample in samples])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence only the warning of torch 2.15 that `torch.jit.script`, which PyG 2.8 uses, is deprecated.

    Users cannot act on this warning. Remove this filter when PyG no longer calls `torch.jit` on import.
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated", category=category)
        yield
