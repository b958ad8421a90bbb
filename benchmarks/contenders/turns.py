"""All contenders run on the same structures in turns, so that a slow phase of the machine affects all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness import Timing

from contenders.child import Child

PEERS = Path(os.environ.get("MML_PEERS", Path(__file__).resolve().parents[2] / ".peers"))


class Entry(NamedTuple):
    """One method of one contender."""

    child: Child
    method: str

    @property
    def label(self) -> str:
        """Label in tables: contender and method."""
        return f"{self.child.name}: {self.method}"


class Team:
    """Contenders that run side by side. This context manager ends their processes on exit.

    Parameters
    ----------
    names
        Modules in this folder, each with the peer whose environment it uses, or "" for this environment.
    structures
        File with the structures.

    Attributes
    ----------
    children
        The running contenders.
    absent
        The reasons why others do not run, by name.
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
                self.absent[child.name] = f"failed to start: {error}"
                self.children.remove(child)
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.close()

    @property
    def entries(self) -> list[Entry]:
        """All methods of all running contenders."""
        return [Entry(child, method) for child in self.children for method in child.methods]

    def describe(self) -> dict[str, str]:
        """Return and print the versions of each contender, and the reasons for missing ones."""
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
        return f"installation failed: {reason.read_text(encoding='utf-8').strip()}"
    return f"not installed: run tools/peers {peer}"


def take_turns(
    entries: Sequence[Entry], do: str, group: str, rounds: int, size: int = 1, clock: str = "processor"
) -> tuple[dict[Entry, Timing], dict[Entry, str]]:
    """Run all entries on a group of structures, round by round, after a warm-up round.

    Parameters
    ----------
    entries
        The entries to run.
    do
        `"convert"`, or `"collate"` for batches of `size`.
    group
        Name of the group.
    rounds
        Number of rounds.
    size
        Number of structures per batch.
    clock
        `"processor"` or `"wall"`.

    Returns
    -------
    timings, failed
        The seconds per structure or batch of the successful entries, and the messages of the failed ones.
    """
    seconds: dict[Entry, list[float]] = {entry: [] for entry in entries}
    failed: dict[Entry, str] = {}
    for turn in range(rounds + 1):
        for entry in _rotated(entries, turn):
            if entry not in failed:
                try:
                    seconds[entry].append(entry.child.ask(do, group, entry.method, size=size, clock=clock))
                except RuntimeError as error:
                    failed[entry] = str(error)
    return {e: Timing.of(s[1:]) for e, s in seconds.items() if e not in failed}, failed


def count_edges(entries: Iterable[Entry], group: str) -> tuple[dict[Entry, list[int]], dict[Entry, str]]:
    """Return the number of edges that each entry finds in each structure, and the messages of failures."""
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
