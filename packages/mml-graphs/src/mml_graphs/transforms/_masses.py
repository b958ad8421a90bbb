"""Look up atomic masses."""

from __future__ import annotations

from functools import cache

import torch


@cache
def _table() -> torch.Tensor:
    from pymatgen.core.periodic_table import Element

    return torch.tensor(
        [float("nan"), *(float(Element.from_Z(number).atomic_mass) for number in range(1, 119))],
        dtype=torch.float64,
    )


def atomic_masses(numbers: torch.Tensor) -> torch.Tensor:
    """Look up the standard atomic masses of pymatgen.

    Parameters
    ----------
    numbers
        [N] integers from 1 to 118, atomic numbers.

    Returns
    -------
    Tensor
        [N] float64, masses in u.

    Raises
    ------
    ValueError
        If a number is not the atomic number of an element.
    """
    if numbers.ndim != 1 or numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise ValueError(
            f"'atomic_numbers' has shape {list(numbers.shape)} and dtype {numbers.dtype}, "
            "expected [N] integers"
        )
    wrong = torch.nonzero((numbers < 1) | (numbers > 118))
    if len(wrong):
        atom = int(wrong[0])
        raise ValueError(f"'atomic_numbers' of atom {atom} is {int(numbers[atom])}, expected 1 to 118")
    return _table()[numbers.cpu().long()].to(numbers.device)
