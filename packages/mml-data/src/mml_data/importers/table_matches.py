"""Numbers of rows and structures that the join of a table matched."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Matches"]


@dataclass(frozen=True)
class Matches:
    """Numbers of rows and structures that a join matched, for the account.

    Attributes
    ----------
    table
        Path of the table.
    rows, structures
        Numbers of all rows and all structures.
    shared
        Number of rows that belong to more than one structure.
    unmatched_rows, unmatched_structures
        Numbers of rows without a structure, and of structures without a row.
    row_examples, structure_examples
        Some of them.
    """

    table: str
    rows: int
    structures: int
    shared: int
    unmatched_rows: int
    row_examples: tuple[str, ...]
    unmatched_structures: int
    structure_examples: tuple[str, ...]

    def check(self) -> None:
        """Raise an error if no row matched a structure.

        Raises
        ------
        ValueError
            The message has examples of both.
        """
        if self.unmatched_structures == self.structures:
            raise ValueError(
                f"no row of {self.table!r} matches a structure; the ids of the table are "
                f"{_listed(self.row_examples, self.rows)}, and the structures are "
                f"{_listed(self.structure_examples, self.structures)}; choose the column with the file names "
                "or ids with --id-column"
            )

    def warnings(self) -> list[str]:
        """Return a sentence about each kind of row or structure that is not matched one to one."""
        found = []
        if self.unmatched_structures:
            found.append(
                f"{self.unmatched_structures:,} of {self.structures:,} structures have no row in "
                f"{self.table!r}, and their labels are missing: "
                f"{_listed(self.structure_examples, self.unmatched_structures)}"
            )
        if self.unmatched_rows:
            found.append(
                f"{self.unmatched_rows:,} of {self.rows:,} rows of {self.table!r} match no structure: "
                f"{_listed(self.row_examples, self.unmatched_rows)}"
            )
        if self.shared:
            found.append(
                f"{self.shared:,} of {self.rows:,} rows of {self.table!r} match several structures, which "
                "have the same labels"
            )
        return found


def _listed(examples: Sequence[str], count: int) -> str:
    more = ", ..." if count > len(examples) else ""
    return (", ".join(map(repr, examples)) or "(unnamed)") + more
