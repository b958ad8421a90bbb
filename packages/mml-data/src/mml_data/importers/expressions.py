"""Read units, and expressions such as ``virial:-1/volume`` that map a label of a file to a target."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

__all__ = ["Expression", "did_you_mean", "parse_expression", "unit_value"]

_VARIABLES = ("volume", "natoms")
_FORM = "NAME or NAME:FACTOR, in which FACTOR is a product such as -1/volume, *natoms, 27.2114 or kbar*-1"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z_]+")
_UNITS = {
    "ev": "eV", "mev": "meV", "hartree": "Hartree", "ha": "Hartree", "eh": "Hartree", "ry": "Rydberg",
    "rydberg": "Rydberg", "kcal": "kcal", "kj": "kJ", "j": "J", "mol": "mol", "bohr": "Bohr",
    "angstrom": "Angstrom", "ang": "Angstrom", "a": "Angstrom", "nm": "nm", "pm": "pm", "m": "m",
    "pa": "Pascal", "mpa": "MPa", "gpa": "GPa", "bar": "bar", "kbar": "kbar", "e": "e",
    "debye": "Debye",
}  # fmt: skip
_SPELLING = {"Hartree": "hartree", "Rydberg": "Ry", "Bohr": "bohr", "Angstrom": "angstrom", "Pascal": "Pa"}
_DERIVED = {"meV": ("eV", 1e-3), "MPa": ("GPa", 1e-3), "kbar": ("bar", 1e3), "pm": ("nm", 1e-3)}


@dataclass(frozen=True)
class Expression:
    """Label of a file, multiplied by a factor, a power of the volume and a power of the number of atoms.

    Attributes
    ----------
    name
        Name of the label in the file. None stands for the recognized names of the target.
    factor
        Constant factor.
    volume, natoms
        Powers of the volume (angstrom^3) and of the number of atoms.
    """

    name: str | None
    factor: float = 1.0
    volume: int = 0
    natoms: int = 0

    def scale(self, volume: float | None, num_atoms: int) -> float | None:
        """Return the factor for one structure, or None if it needs a volume that the structure lacks."""
        if not self.volume:
            return self.factor * float(num_atoms) ** self.natoms
        if volume is None:
            return None
        return self.factor * volume**self.volume * float(num_atoms) ** self.natoms

    def __str__(self) -> str:
        text = self.name or ""
        if (self.factor, self.volume, self.natoms) == (1.0, 0, 0):
            return text
        powers = [
            (name, power) for name, power in (("volume", self.volume), ("natoms", self.natoms)) if power
        ]
        parts = "".join(
            ("*" if power > 0 else "/") + name for name, power in powers for _ in range(abs(power))
        )
        return f"{text}:{self.factor:.12g}{parts}"


def parse_expression(text: str) -> Expression:
    """Parse ``NAME`` or ``NAME:FACTOR``.

    The factor is a product and quotient of numbers, units (see `unit_value`), ``volume`` and ``natoms``:
    ``virial:-1/volume``, ``E_per_atom:*natoms``, ``e_ha:hartree``, ``stress_vasp:-1*kbar``.

    Raises
    ------
    ValueError
        If the text is not an expression.
    """
    name, colon, product = text.partition(":")
    if not name.strip() or (colon and not product.strip()):
        raise ValueError(f"{text!r} is not an expression; write {_FORM}")
    try:
        factor, powers = _product(product) if colon else (1.0, {})
    except ValueError as error:
        raise ValueError(f"{text!r} is not an expression, because {error}; write {_FORM}") from None
    return Expression(name.strip(), factor, powers.get("volume", 0), powers.get("natoms", 0))


def unit_value(text: str) -> float:
    """Return a unit in ASE's units (eV, angstrom, e).

    Units are words such as ``eV``, ``hartree``, ``Ry``, ``kcal``, ``mol``, ``bohr``, ``nm``, ``GPa`` and
    ``kbar``, in any case, and their products and quotients: ``kcal/mol``, ``hartree/bohr``.

    Raises
    ------
    ValueError
        If the unit is unknown. The message names similar units.
    ImportError
        If ASE is not installed, which defines the units.
    """
    try:
        value, powers = _product(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a unit, because {error}") from None
    if powers:
        raise ValueError(f"{text!r} is not a unit, because it contains {next(iter(powers))!r}")
    return value


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the most similar name, or ``"."`` if no name is similar."""
    lower = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), lower, 1, 0.5)
    return f"; did you mean {lower[close[0]]!r}?" if close else "."


def _product(text: str) -> tuple[float, Mapping[str, int]]:
    factor, powers = 1.0, dict[str, int]()
    rest, sign = text.strip(), "*"
    if rest[:1] in ("*", "/"):
        sign, rest = rest[0], rest[1:].lstrip()
    while True:
        power = 1 if sign == "*" else -1
        if match := _NUMBER.match(rest):
            value = float(match.group())
            if not value or not np.isfinite(value):
                raise ValueError(f"{match.group()} is not a valid factor")
            factor *= value**power
        elif match := _WORD.match(rest):
            word = match.group()
            exponent = re.match(r"(\^|\*\*)(-?\d)", rest[match.end() :])
            power *= int(exponent.group(2)) if exponent else 1
            if word in _VARIABLES:
                powers[word] = powers.get(word, 0) + power
            else:
                factor *= _unit(word) ** power
            if exponent:
                rest = word + rest[match.end() + exponent.end() :]
        else:
            raise ValueError(f"a number, a unit, 'volume' or 'natoms' was expected at {rest!r}")
        rest = rest[match.end() :].lstrip()
        if not rest:
            return factor, {name: power for name, power in powers.items() if power}
        if rest[0] not in "*/":
            raise ValueError(f"'*' or '/' was expected at {rest!r}")
        sign, rest = rest[0], rest[1:].lstrip()


def _unit(word: str) -> float:
    name = _UNITS.get(word.lower())
    if name is None:
        known = sorted({_SPELLING.get(each, each) for each in _UNITS.values()}, key=str.lower)
        raise ValueError(
            f"{word!r} is not a known unit{did_you_mean(word, [*known, *_VARIABLES])} Known are "
            f"{', '.join(known)}"
        )
    if name == "e":
        return 1.0
    try:
        from ase import units
    except ImportError as error:
        raise ImportError(
            "converting units requires ASE, which is not installed: pip install 'mml-data[ase]'"
        ) from error
    base, factor = _DERIVED.get(name, (name, 1.0))
    return float(getattr(units, base)) * factor
