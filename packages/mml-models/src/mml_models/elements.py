"""One learned vector an element, and a clear word on elements that an encoder was not made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mml_models.batch import AtomGraph, sample_name


class KnownElements(nn.Module):
    """Which elements an encoder was made for.

    Parameters
    ----------
    num_atom_embedding
        The largest atomic number that is accepted.
    elements
        The atomic numbers that are accepted; all from 1 to `num_atom_embedding` where None.

    Raises
    ------
    ValueError
        Where `elements` holds something else than numbers in 1..num_atom_embedding.
    """

    accepted: Tensor

    def __init__(self, num_atom_embedding: int, elements: Sequence[int] | None = None) -> None:
        super().__init__()
        if elements is not None and not elements:
            raise ValueError("elements is empty: name the atomic numbers to accept, or give None for all.")
        unknown = [z for z in elements or () if not isinstance(z, int)]
        if unknown:
            raise ValueError(f"elements holds {unknown}: give atomic numbers, 3 for Li.")
        outside = [z for z in elements or () if not 1 <= z <= num_atom_embedding]
        if outside:
            raise ValueError(
                f"elements holds {outside}, outside 1..{num_atom_embedding}: remove them or raise "
                "num_atom_embedding."
            )
        self.num_atom_embedding = num_atom_embedding
        self.elements = None if elements is None else sorted(set(elements))
        accepted = torch.zeros(num_atom_embedding + 1, dtype=torch.bool)
        accepted[torch.tensor(self.elements or range(1, num_atom_embedding + 1))] = True
        self.register_buffer("accepted", accepted, persistent=False)

    def check(self, graph: AtomGraph, batch: Mapping[str, Any]) -> None:
        """Raise ValueError where `graph` has an element that the encoder was not made for."""
        z = graph.atomic_numbers
        inside = (z >= 1) & (z <= self.num_atom_embedding)
        known = inside & self.accepted[torch.where(inside, z, 0)]
        if bool(known.all()):
            return
        atom = int((~known).nonzero()[0])
        where = sample_name(batch, int(graph.structure[atom]))
        if self.elements is not None and bool(inside[atom]):
            raise ValueError(
                f"Element {int(z[atom])} in {where} is not one of the encoder's elements {self.elements}: "
                "add it to elements (and train with it) or leave the sample out."
            )
        raise ValueError(
            f"Element {int(z[atom])} in {where} is outside the encoder's 1..{self.num_atom_embedding}: "
            "correct the atomic numbers, or raise num_atom_embedding if they are meant."
        )


class ElementEmbedding(KnownElements):
    """Atomic numbers [N] -> vectors [N, dim].

    Parameters
    ----------
    dim
        Length of the vectors.
    num_atom_embedding
        The largest atomic number that has a vector.
    elements
        The atomic numbers that are accepted; all from 1 to `num_atom_embedding` where None. Give the
        elements of the training set to have others refused, instead of embedded by vectors that were never
        trained.

    Raises
    ------
    ValueError
        Where `elements` is empty or holds a number outside 1..num_atom_embedding.
    """

    def __init__(self, dim: int, num_atom_embedding: int, elements: Sequence[int] | None = None) -> None:
        super().__init__(num_atom_embedding, elements)
        self.table = nn.Embedding(num_atom_embedding + 1, dim)

    def forward(self, atomic_numbers: Tensor) -> Tensor:
        """Look the vectors up; `check` says whether they are there."""
        vectors: Tensor = self.table(atomic_numbers)
        return vectors
