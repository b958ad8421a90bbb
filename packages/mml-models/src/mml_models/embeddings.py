"""The output type of encoders."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a batch of B structures with N atoms in total.

    Parameters
    ----------
    system_embedding
        One vector per structure, [B, D]. Most encoders return the sum or the mean of the atom vectors.
    point_embedding
        One vector per atom, [N, D], in the order of the batch.
    """

    system_embedding: Tensor
    point_embedding: Tensor
