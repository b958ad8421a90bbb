"""Convert the symbols of elements to atomic numbers."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from mml_samples import atomic_number

__all__ = ["numbers_of"]

_HYDROGEN = ("D", "T")


def numbers_of(symbols: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the atomic numbers of symbols, [N] int64, and warnings about isotopes.

    Raises
    ------
    ValueError
        If a symbol is not that of an element.
    """
    return _numbers(tuple(symbols))


@lru_cache(1024)  # the frames of a trajectory have the same symbols
def _numbers(symbols: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    isotopes = [symbol for symbol in _HYDROGEN if symbol in symbols]
    numbers = np.array([1 if symbol in _HYDROGEN else atomic_number(symbol) for symbol in symbols])
    numbers.flags.writeable = False
    return numbers, [f"the isotope {symbol} is imported as H" for symbol in isotopes]
