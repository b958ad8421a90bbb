"""Map atomic numbers to the element indices that models of other libraries use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mml_models.elements import KnownElements


class ElementTypes(KnownElements):
    """Map atomic numbers [N] to indices [N] into the list of a model's elements.

    Parameters
    ----------
    numbers
        Atomic numbers of the elements of the model, in the order of the model.

    Raises
    ------
    ValueError
        If `numbers` is empty or contains a number below 1.
    """

    places: Tensor

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(max(numbers, default=0), numbers)
        places = torch.zeros(self.num_atom_embedding + 1, dtype=torch.int64)
        places[torch.tensor(numbers)] = torch.arange(len(numbers))
        self.register_buffer("places", places, persistent=False)

    def forward(self, atomic_numbers: Tensor) -> Tensor:
        """Return the indices of `atomic_numbers` [N] -> [N]. Call `check` first to validate them."""
        return self.places[atomic_numbers]
