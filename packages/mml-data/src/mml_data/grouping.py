"""Group samples by composition, by chemical system, by prototype or by a value stored in the sample."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import Any

import numpy as np
from mml_samples import SYMBOLS, sample_name

__all__ = ["SampleValue", "composition", "elements", "grouping", "prototype"]

Group = Callable[[Mapping[str, object]], str]


def composition(sample: Mapping[str, object]) -> str:
    """Return the reduced formula of a sample with its elements in alphabetical order, such as ``AlNi3``."""
    counts = _counts(sample)
    divisor = reduce(gcd, counts.values())
    return "".join(
        f"{symbol}{n if (n := counts[symbol] // divisor) > 1 else ''}" for symbol in sorted(counts)
    )


def elements(sample: Mapping[str, object]) -> str:
    """Return the chemical system of a sample, such as ``Al-Ni``."""
    return "-".join(sorted(_counts(sample)))


def prototype(sample: Mapping[str, object]) -> str:
    """Return stoichiometry, space group and number of atoms in the primitive cell, such as ``A3B-221-4``.

    The label is coarser than a prototype of the AFLOW encyclopedia, which also distinguishes Wyckoff
    positions. Two samples with the same label may have different prototypes, but samples of one prototype
    always have the same label. Space groups are computed by spglib with a tolerance of 0.1 angstrom.

    Raises
    ------
    ValueError
        If the sample is not periodic in three dimensions, or if spglib finds no space group.
    """
    import spglib

    if "cell" not in sample or not np.asarray(sample.get("pbc", (True,) * 3)).all():
        raise ValueError(
            f"{sample_name(sample)} is not periodic in three dimensions and therefore has no prototype; "
            "group by another property"
        )
    cell = np.asarray(sample["cell"], dtype=np.float64).reshape(3, 3)
    fractions = np.asarray(sample["pos"], dtype=np.float64) @ np.linalg.inv(cell)
    numbers = np.asarray(sample["atomic_numbers"]).astype(int)
    try:
        with warnings.catch_warnings():
            # spglib 2.7 warns that future versions will raise errors instead of returning None.
            warnings.simplefilter("ignore", DeprecationWarning)
            found = spglib.get_symmetry_dataset(
                (cell.tolist(), fractions.tolist(), numbers.tolist()), symprec=0.1
            )
    except Exception as error:
        raise ValueError(f"spglib found no space group for {sample_name(sample)}: {error}") from error
    if found is None:
        raise ValueError(f"spglib found no space group for {sample_name(sample)}")
    counts = sorted(_counts(sample).values(), reverse=True)
    divisor = reduce(gcd, counts)
    letters = "".join(
        f"{chr(ord('A') + number)}{count // divisor if count > divisor else ''}"
        for number, count in enumerate(counts)
    )
    return f"{letters}-{found.number}-{len(set(found.mapping_to_primitive.tolist()))}"


GROUPINGS: dict[str, Group] = {"composition": composition, "elements": elements, "prototype": prototype}


@dataclass(frozen=True)
class SampleValue:
    """Callable that returns a value of a sample as text.

    Attributes
    ----------
    key
        Key of the value. Nested keys are separated by dots.
    """

    key: str

    def __call__(self, sample: Mapping[str, object]) -> str:
        """Return the value.

        Raises
        ------
        ValueError
            If the sample does not have the key, or if its value is an array of several numbers.
        """
        found: Any = sample
        for key in self.key.split("."):
            if not isinstance(found, Mapping) or key not in found:
                known = ", ".join((*GROUPINGS, *_keys(sample)))
                raise ValueError(
                    f"{sample_name(sample)} has no key {self.key!r} to group by; use one of {known}"
                )
            found = found[key]
        if isinstance(found, np.ndarray) and found.size != 1:
            raise ValueError(
                f"{self.key!r} of {sample_name(sample)} must be a single value, got an array of shape "
                f"{list(found.shape)}; group by another key"
            )
        return str(found.item() if isinstance(found, np.ndarray) else found)


def grouping(by: str | Group) -> Group:
    """Return the function that maps a sample to the name of its group.

    Parameters
    ----------
    by
        A name of `GROUPINGS`, a key of the samples (nested keys are separated by dots), or a function that
        maps a sample to the name of its group.
    """
    if not isinstance(by, str):
        return by
    return GROUPINGS.get(by, SampleValue(by))


def _keys(sample: Mapping[str, object], prefix: str = "") -> list[str]:
    """Return the keys of single values, with dots between nested keys."""
    found: list[str] = []
    for key, value in sample.items():
        if isinstance(value, Mapping):
            found += _keys(value, f"{prefix}{key}.")
        elif not isinstance(value, np.ndarray | list):
            found.append(prefix + key)
    return found


def _counts(sample: Mapping[str, object]) -> Counter[str]:
    return Counter(SYMBOLS[number] for number in np.asarray(sample["atomic_numbers"]).tolist())
