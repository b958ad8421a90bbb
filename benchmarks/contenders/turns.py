"""All contenders over the same structures, in turns: a machine that slows down does so for all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from harness import Timing
from numpy.typing import NDArray

from contenders.child import Child

PEERS = Path(os.environ.get("MML_PEERS", Path(__file__).resolve().parents[2] / ".peers"))


class Entry(NamedTuple):
    """One way of one contender."""

    child: Child
    method: str

    @property
    def label(self) -> str:
        """Name and way, for tables."""
        return f"{self.child.name}: {self.method}"


class Series(NamedTuple):
    """Seconds [R, S] of R rounds over S structures or batches."""

    seconds: NDArray[np.float64]

    @property
    def timing(self) -> Timing:
        """The mean over the structures, summarised over the rounds."""
        return Timing.of(self.seconds.mean(axis=1).tolist())

    @property
    def each(self) -> NDArray[np.float64]:
        """[S], the median of each structure over the rounds."""
        return np.median(self.seconds, axis=0)


class Team:
    """Contenders that run side by side; a context manager that ends them.

    Parameters
    ----------
    names
        Module in this folder, and the peer whose environment it runs in; an empty string is this one.
    structures
        File of structures.

    Attributes
    ----------
    children
        Those that run.
    absent
        Why the others do not, by name.
    """

    def __init__(self, names: Mapping[str, str], structures: Path) -> None:
        self.children: list[Child] = []
        self.absent: dict[str, str] = {}
        for module, peer in names.items():
            if peer and not (PEERS / peer / "requirements.txt").exists():
                self.absent[peer] = _why_absent(peer)
            else:
                python = PEERS / peer / "bin" / "python" if peer else None
                self.children.append(Child(module, peer or module, python, structures))

    def __enter__(self) -> Team:
        for child in list(self.children):
            try:
                child.wait_ready()
            except RuntimeError as error:
                self.absent[child.name] = f"does not start: {error}"
                self.children.remove(child)
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.close()

    @property
    def entries(self) -> list[Entry]:
        """All ways of all that run."""
        return [Entry(child, method) for child in self.children for method in child.methods]

    def describe(self) -> dict[str, str]:
        """Return and print the versions of each, and who is absent."""
        about = {
            child.name: ", ".join(f"{package} {version}" for package, version in child.about.items())
            for child in self.children
        } | self.absent
        for name, text in about.items():
            print(f"{name}: {text}")
        return about


def _why_absent(peer: str) -> str:
    reason = PEERS / f"{peer}.failed"
    if reason.exists():
        return f"cannot be installed: {reason.read_text(encoding='utf-8').strip()}"
    return f"not installed: run tools/peers {peer}"


def take_turns(
    entries: Sequence[Entry], do: str, group: str, rounds: int, size: int = 1
) -> tuple[dict[Entry, Series], dict[Entry, str]]:
    """Run all entries over a group of structures, round by round, after a round that is not counted.

    Parameters
    ----------
    entries
        Who takes part.
    do
        `"convert"`, or `"collate"` for batches of `size`.
    group
        Name of the group.
    rounds
        How often.
    size
        Structures in a batch.

    Returns
    -------
    series, failed
        The seconds of those that went through, and the messages of those that did not.
    """
    seconds: dict[Entry, list[list[float]]] = {entry: [] for entry in entries}
    failed: dict[Entry, str] = {}
    for turn in range(rounds + 1):
        for entry in _rotated(entries, turn):
            if entry not in failed:
                try:
                    seconds[entry].append(entry.child.ask(do, group, entry.method, size=size))
                except RuntimeError as error:
                    failed[entry] = str(error)
    return {e: Series(np.array(s[1:])) for e, s in seconds.items() if e not in failed}, failed


def count_edges(entries: Iterable[Entry], group: str) -> tuple[dict[Entry, list[int]], dict[Entry, str]]:
    """Return how many edges each entry finds in each structure, and the messages of those that fail."""
    edges, failed = {}, {}
    for entry in entries:
        try:
            edges[entry] = entry.child.ask("count", group, entry.method)
        except RuntimeError as error:
            failed[entry] = str(error)
    return edges, failed


def _rotated(entries: Sequence[Entry], by: int) -> list[Entry]:
    start = by % len(entries)
    return [*entries[start:], *entries[:start]]
