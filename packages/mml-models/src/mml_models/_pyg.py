"""The one place that imports torch_geometric: on first use, because that takes seconds."""

from __future__ import annotations

import warnings

from torch import nn


def pyg_schnet() -> type[nn.Module]:
    """Return PyG's `SchNet` class.

    PyG 2.8 still calls `torch.jit.script` while it is imported, which torch 2.15 warns about; the user can
    do nothing about it, so exactly that warning is silenced. It may go when PyG no longer calls it.
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated", category=category)
        from torch_geometric.nn.models.schnet import SchNet
    return SchNet
