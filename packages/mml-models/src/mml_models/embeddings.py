"""What an encoder returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a batch of B structures with N atoms in all.

    Parameters
    ----------
    system_embedding
        [B, D], one vector a structure: mostly the sum or the mean of its atoms' vectors.
    point_embedding
        [N, D], one vector an atom, in the order of the batch.
    """

    system_embedding: Tensor
    point_embedding: Tensor
