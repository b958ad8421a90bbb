"""Find wrong elements: numbers of atom types, and samples in which elements are exchanged."""

from collections import Counter

import numpy as np
from mml_samples import SYMBOLS

from mml_data.physics.evidence import Evidence
from mml_data.physics.finding import Finding

__all__ = ["check_elements"]

_RARE = 0.2


def check_elements(evidence: Evidence) -> list[Finding]:
    """Find elements that are probably numbers of atom types, and exchanged elements along trajectories."""
    return _types(evidence) + _exchanged(evidence)


def _types(evidence: Evidence) -> list[Finding]:
    known = evidence.elements()
    count = len(known)
    if not 2 <= count <= 10 or known.tolist() != list(range(1, count + 1)):
        return []
    return [
        Finding(
            "elements",
            "error",
            f"the elements are {', '.join(SYMBOLS[number] for number in known)}, the first {count} of the "
            "periodic table with the noble gas He, so they are probably numbers of atom types",
            "replace the types by the elements, for example with --elements",
        )
    ]


def _exchanged(evidence: Evidence) -> list[Finding]:
    """Find samples with other elements on the positions of most of the samples of the same size."""
    pairs = evidence.pairs[~evidence.pairs["same_atoms"]]
    if not len(pairs):
        return []
    rows = evidence.rows
    place = {int(index): at for at, index in enumerate(rows["index"])}
    sizes = Counter(rows["natoms"].tolist())
    orders = Counter(rows["order"].tolist())
    wrong: set[int] = set()
    for pair in pairs:
        both = [rows[place[int(pair[name])]] for name in ("first", "second")]
        total = sizes[int(both[0]["natoms"])]
        counts = [orders[int(each["order"])] for each in both]
        if total >= 10 and max(counts) >= (1 - _RARE) * total and min(counts) <= _RARE * total:
            wrong.add(int(both[int(np.argmin(counts))]["index"]))
    if not wrong:
        return []
    return [
        Finding(
            "elements",
            "warning",
            f"{len(wrong):,} samples have other elements, or another order of the elements, at the "
            "positions of an otherwise equal sample",
            "check whether elements were exchanged or sorted in these samples; forces belong to atoms in "
            "the same order",
            tuple(sorted(wrong)),
        )
    ]
