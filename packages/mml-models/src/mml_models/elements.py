"""Embedding of elements, and the check that an encoder accepts the elements of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mml_samples import Batch, sample_name
from torch import Tensor, nn

from mml_models.batch import AtomGraph


class KnownElements(nn.Module):
    """Set of the elements that an encoder accepts.

    Parameters
    ----------
    num_atom_embedding
        Largest accepted atomic number.
    elements
        Accepted atomic numbers. None accepts 1 to `num_atom_embedding`.

    Raises
    ------
    ValueError
        If `elements` is empty or contains anything but integers in 1..num_atom_embedding.
    """

    accepted: Tensor

    def __init__(self, num_atom_embedding: int, elements: Sequence[int] | None = None) -> None:
        super().__init__()
        if elements is not None and not elements:
            raise ValueError("elements is empty. Pass the atomic numbers to accept, or None to accept all.")
        unknown = [z for z in elements or () if not isinstance(z, int)]
        if unknown:
            raise ValueError(f"elements must be atomic numbers, for example 3 for Li, got {unknown}")
        outside = [z for z in elements or () if not 1 <= z <= num_atom_embedding]
        if outside:
            raise ValueError(
                f"elements must be from 1 to num_atom_embedding={num_atom_embedding}, got {outside}. Remove "
                "them or raise num_atom_embedding."
            )
        self.num_atom_embedding = num_atom_embedding
        self.elements = None if elements is None else sorted(set(elements))
        accepted = torch.zeros(num_atom_embedding + 1, dtype=torch.bool)
        accepted[torch.tensor(self.elements or range(1, num_atom_embedding + 1))] = True
        self.register_buffer("accepted", accepted, persistent=False)

    def check(self, graph: AtomGraph, batch: Batch) -> None:
        """Raise a ValueError if `graph` contains an element that the encoder does not accept."""
        z = graph.atomic_numbers
        inside = (z >= 1) & (z <= self.num_atom_embedding)
        known = inside & self.accepted[torch.where(inside, z, 0)]
        if bool(known.all()):
            return
        atom = int((~known).nonzero()[0])
        where = sample_name(batch, int(graph.structure[atom]))
        if self.elements is not None and bool(inside[atom]):
            raise ValueError(
                f"Element {int(z[atom])} of {where} is not one of the encoder's elements {self.elements}. "
                "Add it to elements and train with it, or remove the sample."
            )
        raise ValueError(
            f"Element {int(z[atom])} of {where} is outside the encoder's range from 1 to "
            f"{self.num_atom_embedding}. Fix the atomic numbers, or raise num_atom_embedding."
        )


class ElementEmbedding(KnownElements):
    """Learned embedding of elements: atomic numbers [N] -> vectors [N, dim].

    Parameters
    ----------
    dim
        Length of the vectors.
    num_atom_embedding
        Largest atomic number that has a vector.
    elements
        Accepted atomic numbers. None accepts 1 to `num_atom_embedding`. Pass the elements of the training set
        to raise an error for all others. Otherwise they are embedded by vectors that were never trained.

    Raises
    ------
    ValueError
        If `elements` is empty or contains anything but integers in 1..num_atom_embedding.
    """

    def __init__(self, dim: int, num_atom_embedding: int, elements: Sequence[int] | None = None) -> None:
        super().__init__(num_atom_embedding, elements)
        self.table = nn.Embedding(num_atom_embedding + 1, dim)

    def forward(self, atomic_numbers: Tensor) -> Tensor:
        """Return the vectors of `atomic_numbers` [N] -> [N, dim]. Call `check` first to validate them."""
        vectors: Tensor = self.table(atomic_numbers)
        return vectors
