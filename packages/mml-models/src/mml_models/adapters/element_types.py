"""Elements as other libraries' models number them: by their place in a list."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mml_models.elements import KnownElements


class ElementTypes(KnownElements):
    """Atomic numbers [N] -> places [N] in the list of a model's elements.

    Parameters
    ----------
    numbers
        The model's elements, in its order.

    Raises
    ------
    ValueError
        Where `numbers` is empty, or holds a number below 1.
    """

    places: Tensor

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(max(numbers, default=0), numbers)
        places = torch.zeros(self.num_atom_embedding + 1, dtype=torch.int64)
        places[torch.tensor(numbers)] = torch.arange(len(numbers))
        self.register_buffer("places", places, persistent=False)

    def forward(self, atomic_numbers: Tensor) -> Tensor:
        """Look the places up; `check` says whether they are there."""
        return self.places[atomic_numbers]
