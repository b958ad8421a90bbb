"""Join a table of labels to structures by the names of their files or by an id."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mml_data.importers.files import file_checksum
from mml_data.importers.label_names import recognize
from mml_data.importers.source import Item, Part, Source, existing
from mml_data.importers.table_files import ID_COLUMNS, Table, read_table
from mml_data.importers.table_matches import Matches

__all__ = ["ID_PROP", "LabelTable", "LabeledSource"]

ID_PROP = "id_prop.csv"
"""Name of the table in a folder of CGCNN or ALIGNN, which is joined automatically."""

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_EXAMPLES = 3


class LabelTable:
    """Table that maps the name of a file, or an id, to labels. It can be pickled.

    Parameters
    ----------
    path
        Path of the file. See `mml_data.importers.table_files.read_table`.
    id_column
        Column of the names or ids. Default: the first column whose name is that of an id, such as ``id``,
        ``name`` or ``material_id``, or otherwise the first column.
    targets
        Whether numbers and classes of the table are targets of the import. Otherwise, only the label plan
        decides which labels become targets.
    classes
        Columns of words that are classes. Other words are stored under ``extra``.

    Raises
    ------
    ValueError
        If `id_column` does not exist, or if an id is missing or occurs twice.
    """

    def __init__(
        self,
        path: str | Path,
        id_column: str | None = None,
        *,
        targets: bool = True,
        classes: Collection[str] = (),
    ) -> None:
        self.path = str(path)
        self.sha256 = file_checksum(existing(path))
        table = read_table(path, id_column)
        self.id_column = _choose_id(table, id_column, self.path)
        number = table.columns.index(self.id_column)
        self.columns = tuple(name for name in table.columns if name != self.id_column)
        self.rows: dict[str, tuple[Any, ...]] = {}
        places: dict[str, str] = {}
        for place, row in table.rows:
            if row[number] is None:
                raise ValueError(f"{place}: the id in the column {self.id_column!r} is missing")
            name = _text(row[number])
            if name in self.rows:
                raise ValueError(
                    f"{place}: the id {name!r} occurs twice, first at {places[name]}; remove one of the rows"
                )
            places[name] = place
            self.rows[name] = row[:number] + row[number + 1 :]
        self._places = tuple(self._place(column, targets, classes) for column in self.columns)

    def match(self, structure: Mapping[str, Any]) -> str | None:
        """Return the id of the row that belongs to a structure or to an imported sample, or None."""
        return next((name for name in self._names(structure) if name in self.rows), None)

    def join(self, structure: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a structure with the labels of its row. A missing cell is a missing label.

        Raises
        ------
        ValueError
            If the structure already has a label with the name of a column.
        """
        found = self.match(structure)
        if found is None:
            return structure
        joined = {place: dict(structure.get(place) or {}) for place in ("labels", "targets")}
        for name, place, value in zip(self.columns, self._places, self.rows[found], strict=True):
            if value is None:
                continue
            for known in ("targets", "labels", "atom_labels"):
                if name in (structure.get(known) or {}):
                    raise ValueError(
                        f"the label {name!r} is in the file and in the table {self.path!r}; rename or remove "
                        "the column of the table"
                    )
            joined[place][name] = value
        return {**structure, **{place: values for place, values in joined.items() if values}}

    def account(self, matched: Sequence[str | None], names: Sequence[str] = ()) -> Matches:
        """Count rows and structures that belong together.

        Parameters
        ----------
        matched
            Id of the row of each structure, or None.
        names
            Name of each structure, for examples.
        """
        used = Counter(name for name in matched if name is not None)
        lost = [index for index, name in enumerate(matched) if name is None]
        unused = [name for name in self.rows if name not in used]
        return Matches(
            self.path,
            rows=len(self.rows),
            structures=len(matched),
            shared=sum(count > 1 for count in used.values()),
            unmatched_rows=len(unused),
            row_examples=tuple(unused[:_EXAMPLES]),
            unmatched_structures=len(lost),
            structure_examples=tuple(names[index] for index in lost[:_EXAMPLES]) if names else (),
        )

    def _place(self, column: str, targets: bool, classes: Collection[str]) -> str:
        """Return whether the values of a column are declared targets or labels for the label plan."""
        number = self.columns.index(column)
        values = [row[number] for row in self.rows.values() if row[number] is not None]
        entry = recognize(column)
        is_known = entry is not None and entry.place == "target"
        is_number = bool(values) and all(isinstance(value, int | float) for value in values)
        return "targets" if targets and not is_known and (is_number or column in classes) else "labels"

    def _names(self, structure: Mapping[str, Any]) -> Iterator[str]:
        """Yield the names of a structure that can be an id, the most specific ones first."""
        extra = structure.get("extra") or {}
        labels = structure.get("labels") or {}
        for values in (labels, extra):
            if self.id_column in values and isinstance(values[self.id_column], str | int):
                yield _text(values[self.id_column])
        if structure.get("sample_id") is not None:
            yield str(structure["sample_id"])
        for column in ID_COLUMNS:
            value = labels.get(column, extra.get(column))
            if isinstance(value, str):
                yield value
        if isinstance(source := extra.get("source"), str):
            yield from _names_of_file(source)


@dataclass(frozen=True)
class LabeledSource:
    """Source whose structures have the labels of a table."""

    source: Source
    table: LabelTable

    @property
    def units(self) -> Mapping[str, str]:
        """Known units of the targets."""
        return self.source.units

    def describe(self) -> dict[str, Any]:
        """Return the description of the source for the manifest, with that of the table."""
        facts: dict[str, Any] = self.source.describe()
        name = Path(self.table.path).name
        if "passed_over" in facts:
            facts["passed_over"] = [each for each in facts["passed_over"] if Path(each["file"]).name != name]
        table = {"file": name, "sha256": self.table.sha256, "id_column": self.table.id_column}
        return facts | {"label_table": table}

    def parts(self, count: int) -> list[Part]:
        """Divide the source."""
        return [_LabeledPart(part, self.table) for part in self.source.parts(count)]


@dataclass(frozen=True)
class _LabeledPart:
    part: Part
    table: LabelTable

    def read(self, start: int = 0) -> Iterator[Item]:
        for place, item in self.part.read(start):
            if not isinstance(item, Exception):
                try:
                    item = self.table.join(item)
                except ValueError as error:
                    item = error
            yield place, item


def _choose_id(table: Table, wanted: str | None, path: str) -> str:
    if wanted is None:
        known = {name.lower(): name for name in reversed(table.columns)}
        return next((known[name] for name in ID_COLUMNS if name in known), table.columns[0])
    if wanted not in table.columns:
        raise ValueError(
            f"{path!r} has no column {wanted!r} (--id-column); its columns are {', '.join(table.columns)}"
        )
    return wanted


def _names_of_file(source: str) -> Iterator[str]:
    """Yield the names of a file: path and name with and without suffixes, and its folder."""
    for path in (source, PurePosixPath(source).name):
        yield path
        plain = next((path[: -len(end)] for end in _COMPRESSED if path.lower().endswith(end)), path)
        yield plain
        if suffix := PurePosixPath(plain).suffix:
            yield plain.removesuffix(suffix)
    folder = PurePosixPath(source).parent
    if folder.name:
        yield str(folder)
        yield folder.name


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
