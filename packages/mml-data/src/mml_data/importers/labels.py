"""Decide which labels of a file become targets or keys of the sample, and convert them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mml_samples import QUANTITIES, Quantity

from mml_data.importers.expressions import Expression, did_you_mean, parse_expression, unit_value
from mml_data.importers.label_names import AMBIGUOUS, LabelName, recognize
from mml_data.importers.targets import (
    to_array,
    to_class,
    to_number,
    to_rows,
    to_structure_row,
    to_undeclared,
)

__all__ = ["QUANTITIES_WITH_UNITS", "LabelPlan", "Recipe", "Wanted", "ambiguous_labels", "unknown_quantity"]

Wanted = Mapping[str, str] | Collection[str] | None
"""Targets to import: names, ``"target=expression"``, a mapping of both, or None for all known targets."""

_PLACES = ("targets", "labels", "atom_labels")
_LENGTHS = {"energy": (1, 0), "force": (1, -1), "forces": (1, -1), "stress": (1, -3), "virial": (1, 0)}
_LENGTHS |= {"dipole": (0, 1)}
QUANTITIES_WITH_UNITS = ("energy", "length", "force", "stress", "virial", "dipole")
_KEYS: dict[str, Quantity] = {
    "charge": Quantity("scalar", (), "e"),
    "spin": Quantity("scalar", (), None),
    "magmom": Quantity("per_atom", (), "Bohr magneton"),
    "tags": Quantity("per_atom", (), None),
    "fixed": Quantity("per_atom", (), None),
}
_KEY_DTYPES = {"tags": np.dtype(np.int64), "fixed": np.dtype(bool)}


@dataclass(frozen=True)
class Step:
    """Conversion of one label: its place in the structure, its name, its destination and the function."""

    place: str
    name: str
    becomes: str
    convert: Callable[[Any, int], Any]
    scale: Expression | None = None


@dataclass
class Recipe:
    """Conversion of all structures that have the same names of labels.

    Attributes
    ----------
    targets, keys
        Labels that become targets and keys of the sample.
    extra
        Place and name of the labels that are stored under ``extra``.
    notes
        Sentences for the account, about names that could be misunderstood.
    needs_volume
        Whether a conversion divides or multiplies by the volume.
    """

    targets: list[Step] = field(default_factory=list)
    keys: list[Step] = field(default_factory=list)
    extra: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    needs_volume: bool = False


class LabelPlan:
    """Plan of an import: the targets, and the units and classes of the labels. It can be pickled.

    Parameters
    ----------
    targets
        Targets to import. None imports every label that is recognized by its name (see
        `mml_data.importers.label_names`) and every target that the format declares. A name is a target, a
        recognized name, or the name of any label of the file. ``"energy=REF_energy"``, or the item
        ``{"energy": "REF_energy"}`` of a mapping, maps a label to a target; see
        `mml_data.importers.expressions.parse_expression`. An empty list imports no targets.
    units
        Units of the file by quantity: ``energy``, ``length``, ``force``, ``stress``, or the name of a target.
        Forces, stresses and virials follow from energy and length unless they are given.
    classes
        Names of targets, or of any labels, whose values, integers or words, are classes.
    allow_missing
        Whether a target may be null or NaN.
    allow_close
        Whether atoms may be too close to each other, see `mml_data.importers.contacts`.

    Raises
    ------
    ValueError
        If an argument is invalid.
    """

    def __init__(
        self,
        targets: Wanted = None,
        *,
        units: Mapping[str, str] | None = None,
        classes: Collection[str] = (),
        allow_missing: bool = True,
        allow_close: bool = False,
    ) -> None:
        self.wanted = _parse_targets(targets)
        self.classes = tuple(_names("classes", classes))
        if self.wanted is not None:
            self.wanted = {**{name: Expression(None) for name in self.classes}, **self.wanted}
        self.allow_missing = allow_missing
        self.allow_close = allow_close
        self.units = {name: unit for name, unit in (units or {}).items() if not name.startswith("targets.")}
        for name in self.units:
            if name not in QUANTITIES_WITH_UNITS and self.wanted is not None and name not in self.wanted:
                raise ValueError(unknown_quantity(name, self.wanted))
        values = {name: unit_value(unit) for name, unit in self.units.items()}
        self.length = values.get("length", 1.0)
        self._values = values
        self._recipes: dict[Any, Recipe] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_recipes": {}}

    def describe(self) -> dict[str, object]:
        """Return the options as JSON-serializable values, to recognize an import that can be resumed."""
        wanted = None if self.wanted is None else {name: str(each) for name, each in self.wanted.items()}
        return {
            "targets": wanted,
            "units": self.units,
            "classes": list(self.classes),
            "allow_missing": self.allow_missing,
            "allow_close": self.allow_close,
        }

    def recipe(self, structure: Mapping[str, Any]) -> Recipe:
        """Return the recipe for the labels of a structure. The same names give the same object.

        Raises
        ------
        ValueError
            If two labels of the structure could be the same target.
        """
        targets, labels, arrays = (structure.get(place) for place in _PLACES)
        if targets is not None and not isinstance(targets, Mapping):
            raise ValueError(f"'targets' must be an object, got {type(targets).__name__}")
        names = (
            tuple(targets) if targets else (),
            tuple(labels) if labels else (),
            tuple(arrays) if arrays else (),
        )
        recipe = self._recipes.get(names)
        if recipe is None:
            recipe = self._recipes[names] = self._make(*names)
        return recipe

    def convert(
        self, structure: Mapping[str, Any], num_atoms: int, volume: Callable[[], float | None]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], Recipe]:
        """Convert the labels of one structure.

        Parameters
        ----------
        structure
            Structure.
        num_atoms
            Number of atoms N.
        volume
            Function that returns the volume of the cell in angstrom^3, or None if there is no volume.

        Returns
        -------
        tuple
            Targets, keys of the sample, items of ``extra``, and the recipe.

        Raises
        ------
        ValueError
            If a label has an invalid value, or if two labels could be the same target.
        """
        recipe = self.recipe(structure)
        targets: dict[str, Any] = {}
        keys: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        size = volume() if recipe.needs_volume else None
        for step in recipe.targets:
            try:
                value = step.convert(structure[step.place][step.name], num_atoms)
            except ValueError as error:
                raise ValueError(_target_error(step, error)) from error
            if value is not None and step.scale is not None:
                factor = step.scale.scale(size, num_atoms)
                value = None if factor is None else value * factor
            if value is not None:
                targets[step.becomes] = value
            elif not self.allow_missing:
                raise ValueError(
                    f"target {step.becomes!r} is missing (null or NaN); add the value, remove the structure, "
                    "or store NaN with allow_missing=True"
                )
        for step in recipe.keys:
            value = structure[step.place][step.name]
            try:
                key = step.convert(value, num_atoms)
            except ValueError:
                extra[step.name] = value  # for example a total magnetic moment
            else:
                if key is not None:
                    keys[step.becomes] = key
        for place, name in recipe.extra:
            extra[name] = structure[place][name]
        return targets, keys, extra, recipe

    def _make(self, declared: tuple[str, ...], labels: tuple[str, ...], arrays: tuple[str, ...]) -> Recipe:
        recipe = Recipe()
        used: set[tuple[str, str]] = set()
        known = _candidates(labels, arrays)
        found = dict(zip(_PLACES, (declared, labels, arrays), strict=True))
        for becomes, expression in self._assigned(found, known).items():
            place, name, entry = self._source(becomes, expression, found, known)
            if name is None:
                continue
            factor = expression
            if expression.name is None and entry is not None and entry.factor:
                factor = parse_expression(f"{name}:{entry.factor.lstrip(':')}")
                recipe.notes.append(f"{becomes} = {factor}")
            scale = self._scaled(becomes, factor)
            recipe.targets.append(Step(place, name, becomes, self._converter(becomes, place), scale))
            used.add((place, name))
        recipe.needs_volume = any(step.scale is not None and step.scale.volume for step in recipe.targets)
        for place in ("atom_labels", "labels"):  # an array per atom is preferred to a total
            for name in found[place]:
                if (place, name) in used:
                    continue
                entry = recognize(name)
                is_key = entry is not None and entry.place == "key" and _fits(_KEYS[entry.becomes], place)
                if (
                    entry is not None
                    and is_key
                    and entry.becomes not in {each.becomes for each in recipe.keys}
                ):
                    recipe.keys.append(Step(place, name, entry.becomes, _key_converter(entry.becomes)))
                    continue
                recipe.extra.append((place, name))
        return recipe

    def _assigned(
        self, found: Mapping[str, tuple[str, ...]], known: Mapping[str, list[tuple[str, str, LabelName]]]
    ) -> dict[str, Expression]:
        """Return the targets that structures with these labels can have, each with its expression."""
        if self.wanted is not None:
            return self.wanted
        return {name: Expression(None) for name in (*found["targets"], *known, *self.classes)}

    def _source(
        self,
        becomes: str,
        expression: Expression,
        found: Mapping[str, tuple[str, ...]],
        known: Mapping[str, list[tuple[str, str, LabelName]]],
    ) -> tuple[str, str | None, LabelName | None]:
        """Return the place and name of the label from which a target is made, and its entry in the table."""
        if expression.name is not None:
            for place in _PLACES:
                if expression.name in found[place]:
                    return place, expression.name, None
            return "", None, None
        if becomes in found["targets"]:
            return "targets", becomes, None
        candidates = known.get(becomes, [])
        if candidates:
            first = min(entry.rank for _, _, entry in candidates)
            best = [each for each in candidates if each[2].rank == first]
            if len(best) > 1:
                raise ValueError(
                    _ambiguous(becomes, [name for _, name, _ in best], self._others(known, becomes))
                )
            return best[0]
        if self.wanted is not None or becomes in self.classes:
            for place in ("labels", "atom_labels"):
                if becomes in found[place]:
                    return place, becomes, None
        return "", None, None

    def _others(self, known: Mapping[str, object], becomes: str) -> list[str]:
        if self.wanted is None:
            return [name for name in known if name != becomes]
        return [
            name if each.name is None else f"{name}={each}"
            for name, each in self.wanted.items()
            if name != becomes
        ]

    def _converter(self, becomes: str, place: str) -> Callable[[Any, int], Any]:
        if becomes in self.classes:
            return lambda value, num_atoms: to_class(value)
        quantity = QUANTITIES.get(becomes)
        if quantity is None:
            return (
                (lambda value, num_atoms: to_undeclared(value, num_atoms))
                if place == "targets"
                else (lambda value, num_atoms: to_undeclared(value, num_atoms, per_structure=False))
            )
        return _quantity_converter(quantity)

    def _scaled(self, becomes: str, expression: Expression) -> Expression | None:
        """Return the factor of a target, including its units, or None if it is one."""
        factor = self._values.get(becomes)
        if factor is None and becomes in _LENGTHS:
            name = "force" if becomes == "forces" else becomes
            energy, length = _LENGTHS[becomes]
            factor = self._values.get("energy", 1.0) ** energy * self.length**length
            factor = self._values.get(name, factor)
            if expression.volume and self._values:
                factor *= self.length ** (-3 * expression.volume)  # the volume is in angstrom^3
        factor = expression.factor * (1.0 if factor is None else factor)
        if (factor, expression.volume, expression.natoms) == (1.0, 0, 0):
            return None
        return Expression(expression.name, factor, expression.volume, expression.natoms)


def _quantity_converter(quantity: Quantity) -> Callable[[Any, int], Any]:
    row = quantity.row
    if quantity.kind == "scalar":
        return lambda value, num_atoms: to_number(value)
    if quantity.kind == "per_atom":
        return lambda value, num_atoms: to_rows(value, num_atoms, row)
    return lambda value, num_atoms: to_structure_row(value, row)


def _key_converter(key: str) -> Callable[[Any, int], Any]:
    dtype = _KEY_DTYPES.get(key)
    if _KEYS[key].kind == "scalar":
        return lambda value, num_atoms: to_number(value)
    if dtype is None:
        return lambda value, num_atoms: to_rows(value, num_atoms, ())

    def convert(value: Any, num_atoms: int) -> np.ndarray | None:
        if value is None:
            return None
        array = to_array(value)
        if array.shape != (num_atoms,):
            raise ValueError(f"must have one value for each atom, got {list(array.shape)}")
        return array.astype(dtype)

    return convert


def _fits(quantity: Quantity, place: str) -> bool:
    """Return whether a label that the format declares per atom, or not, can be this quantity."""
    return place == "labels" or quantity.kind == "per_atom"


def _candidates(labels: Iterable[str], arrays: Iterable[str]) -> dict[str, list[tuple[str, str, LabelName]]]:
    """Return the recognized labels by target, with their place, name and entry in the table."""
    found: dict[str, list[tuple[str, str, LabelName]]] = {}
    for place, names in (("labels", labels), ("atom_labels", arrays)):
        for name in names:
            entry = recognize(name)
            if entry is not None and entry.place == "target" and _fits(QUANTITIES[entry.becomes], place):
                found.setdefault(entry.becomes, []).append((place, name, entry))
    return found


def _ambiguous(becomes: str, names: list[str], others: list[str]) -> str:
    remedy = " ".join([f"{becomes}={names[-1]}", *others])
    return (
        f"{' and '.join(map(repr, names))} could each be the target {becomes!r}; choose one, for example "
        f"with --targets {remedy}"
    )


def _target_error(step: Step, error: ValueError) -> str:
    label = "" if step.name == step.becomes else f", read from {step.name!r},"
    return f"target {step.becomes!r}{label} {error}"


def _names(argument: str, names: Collection[str]) -> list[str]:
    if isinstance(names, str):
        raise ValueError(f"{argument} must be a list of names, got the text {names!r}; pass [{names!r}]")
    return list(names)


def _parse_targets(targets: Wanted) -> dict[str, Expression] | None:
    if targets is None:
        return None
    wanted: dict[str, Expression] = {}
    items = (
        targets.items()
        if isinstance(targets, Mapping)
        else [_pair(each) for each in _names("targets", targets)]
    )
    for name, text in items:
        if text is None:
            entry = recognize(name)
            if name in QUANTITIES or entry is None or entry.place != "target":
                becomes, expression = name, Expression(None)
            else:  # the name of a label that is recognized
                becomes = entry.becomes
                factor = f":{entry.factor.lstrip(':')}" if entry.factor else ""
                expression = parse_expression(name + factor)
        else:
            becomes, expression = name, parse_expression(text)
        becomes = "force" if becomes == "forces" and text is not None else becomes
        if becomes in wanted:
            raise ValueError(f"targets contain {becomes!r} twice, got {list(map(str, targets))}")
        wanted[becomes] = expression
    return wanted


def _pair(item: str) -> tuple[str, str | None]:
    name, equals, text = item.partition("=")
    if equals and not (name.strip() and text.strip()):
        raise ValueError(
            f"{item!r} is not a target; write NAME, or NAME=EXPRESSION such as energy=REF_energy"
        )
    return name.strip(), text.strip() if equals else None


def ambiguous_labels(names: Iterable[str]) -> dict[str, str]:
    """Return the labels that look like targets but are not recognized, with the reason."""
    return {name: AMBIGUOUS[name.lower()] for name in names if name.lower() in AMBIGUOUS}


def unknown_quantity(name: str, targets: Iterable[str]) -> str:
    """Return the error message for the unit of a quantity that does not exist, given all targets."""
    known = [*QUANTITIES_WITH_UNITS, *(target for target in targets if target not in QUANTITIES_WITH_UNITS)]
    return (
        f"units contain {name!r}, which is not a quantity{did_you_mean(name, known)} Known are "
        f"{', '.join(known)}"
    )
