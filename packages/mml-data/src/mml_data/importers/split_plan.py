"""Draw the splits of an import once all shards are written, and account for the rows of a table of labels."""

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mml_data.group_samples import find_groups
from mml_data.grouping import Group
from mml_data.importers.label_table import LabelTable
from mml_data.importers.separate_sources import SeparateSources
from mml_data.split_rules import SplitRules
from mml_data.store.assemble import Splits
from mml_data.store.codec import decompressor
from mml_data.store.records import decode_record
from mml_data.store.shards import open_shard

__all__ = ["NoMatch", "SplitPlan", "Written"]

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

_AT_ONCE = 20_000


class NoMatch(ValueError):  # noqa: N818
    """Error of a table of labels of which no row matches a structure."""


@dataclass(frozen=True)
class Written:
    """Complete shards of an import.

    Attributes
    ----------
    shards
        Paths of the shards, one for each part. A shard without records may not exist.
    counts
        Numbers of records.
    compression
        Compression of the records.
    call
        Function that calls functions, in this process or in others, and yields their results in order.
    """

    shards: Sequence[Path]
    counts: Sequence[int]
    compression: str | None
    call: Callable[[Sequence[Callable[[], Any]]], Iterable[Any]]

    def each(self, function: Callable[[Mapping[str, object]], Value]) -> Iterator[Value]:
        """Call a function with each stored sample, and yield the results in order."""
        works = [
            partial(_read, path, self.compression, function, start, min(start + _AT_ONCE, count))
            for path, count in zip(self.shards, self.counts, strict=True)
            for start in range(0, count, _AT_ONCE)
        ]
        try:
            pickle.dumps(function)
        except (AttributeError, TypeError, pickle.PicklingError):  # for example a lambda
            return chain.from_iterable(work() for work in works)
        return chain.from_iterable(self.call(works))


def _read(
    path: Path,
    compression: str | None,
    function: Callable[[Mapping[str, object]], Value],
    start: int,
    stop: int,
) -> list[Value]:
    """Call a function with the samples from `start` to `stop` of a shard."""
    read, shard = decompressor(compression), open_shard(path)
    return [function(decode_record(read(shard.get(index)))) for index in range(start, stop)]


class SplitPlan:
    """Plan of the splits of an import.

    Parameters
    ----------
    rules
        Shares or folds, and seed.
    by
        Criterion for structures that stay in the same split. See `mml_data.group_samples.find_groups`.
    separate
        Sources of the splits, if they are given separately. The rules are then not used.
    table
        Table of labels, whose rows are compared with the structures.

    Attributes
    ----------
    about
        Description of the splits for the manifest, complete after `draw`.
    notes
        Sentences for the account, complete after `draw`.
    """

    def __init__(
        self,
        rules: SplitRules,
        by: str | Group | None = None,
        *,
        separate: SeparateSources | None = None,
        table: LabelTable | None = None,
    ) -> None:
        self.rules = rules
        self.by = by
        self.separate = separate
        self.table = table
        self.about: dict[str, object] = {}
        self.notes: list[str] = []

    def draw(self, written: Written) -> Splits:
        """Draw the splits.

        Raises
        ------
        ValueError
            If a split would be empty, or if a structure does not have the key to group by.
        NoMatch
            If no row of the table matches a structure.
        """
        self.notes = []
        count = sum(written.counts)
        if self.table is not None:
            self._compare(written, self.table)
        if self.separate is not None:
            self.about = {"separate": True}
            return self._separate(self.separate, written.counts)
        self.about = self.rules.describe()
        if len(self.rules.names) == 1:
            return self.rules.draw(count)
        groups = find_groups(self.by, count, written.each)
        self.about["group_by"] = groups.by
        if groups.note:
            self.notes.append(groups.note)
            logger.info("%s", groups.note)
        try:
            return self.rules.draw(count, groups.names)
        except ValueError as error:
            if groups.names is None or self.by is not None:
                raise
            raise ValueError(
                f"{error}; frames with the same {groups.by} stay together, so add structures, use fewer "
                "splits (--splits 0.5 0.5 0), give a file for each split (--train, --valid, --test), or "
                "split single frames with split_by='frame' (--split-by frame)"
            ) from error

    def _separate(self, separate: SeparateSources, counts: Sequence[int]) -> Splits:
        ends = np.cumsum(counts)
        splits: dict[str, np.ndarray] = {}
        for name in dict.fromkeys(separate.splits_of_parts):
            pieces = [
                np.arange(end - count, end)
                for split, end, count in zip(separate.splits_of_parts, ends, counts, strict=True)
                if split == name
            ]
            splits[name] = np.concatenate(pieces)
            if not splits[name].size:
                raise ValueError(f"the files of the split {name!r} contain no structure that can be imported")
        return splits

    def _compare(self, written: Written, table: LabelTable) -> None:
        matched = list(written.each(table.match))
        lost = [index for index, name in enumerate(matched) if name is None]
        matches = table.account(matched)
        if lost:
            wanted = set(lost[:3])
            names = (name for index, name in enumerate(written.each(_name)) if index in wanted)
            matches = replace(matches, structure_examples=tuple(names))
        try:
            matches.check()
        except ValueError as error:
            raise NoMatch(str(error)) from error
        self.notes += matches.warnings()
        for text in matches.warnings():
            logger.warning("%s", text)


def _name(sample: Mapping[str, Any]) -> str:
    """Return the name of a stored sample for a message."""
    extra = sample.get("extra") or {}
    return str(sample.get("sample_id") or extra.get("source") or "(unnamed)")
