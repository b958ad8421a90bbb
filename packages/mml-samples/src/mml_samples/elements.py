"""Symbols of the chemical elements by atomic number."""

from __future__ import annotations

SYMBOLS: tuple[str, ...] = (
    "X",
    *("H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar"),
    *("K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br"),
    *("Kr", "Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te"),
    *("I", "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm"),
    *("Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn"),
    *("Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr"),
    *("Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"),
)  # fmt: skip
"""Symbols indexed by atomic number: ``SYMBOLS[6] == "C"``. Index 0 is the placeholder ``"X"``."""

_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


def atomic_number(element: str | int) -> int:
    """Return the atomic number of an element.

    Parameters
    ----------
    element
        Symbol, atomic number, or atomic number as a string of digits.

    Raises
    ------
    ValueError
        If the element does not exist.
    """
    text = str(element)
    number = int(text) if text.isdigit() else _NUMBERS.get(text, 0)
    if not 1 <= number < len(SYMBOLS):
        raise ValueError(
            f"{element!r} is not a chemical element. Pass a symbol such as 'Al' or "
            "an atomic number from 1 to 118."
        )
    return number
