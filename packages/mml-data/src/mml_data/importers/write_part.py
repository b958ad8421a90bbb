"""Write one part of a source as one shard, in a process of an import."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, cast

from mml_data.importers.account import PartLog
from mml_data.importers.check_block import check_block
from mml_data.importers.labels import LabelPlan
from mml_data.importers.source import Item, Part
from mml_data.importers.structure import to_sample
from mml_data.store.checks import check_storable
from mml_data.store.codec import compressor
from mml_data.store.records import encode_record
from mml_data.store.shard_writer import ShardWriter

__all__ = ["OnError", "PartWriter", "Stopped"]

OnError = Literal["stop", "skip"]

_BLOCK = 128


class Stopped(Exception):  # noqa: N818
    """Exception of a process that stops because another process failed or the user interrupted the import."""


@dataclass(frozen=True)
class PartWriter:
    """Callable that writes a part of a source into a shard. After an interruption, another call continues.

    Attributes
    ----------
    part
        Part to write.
    shard
        Path of the shard. Beside it, ``log-<number>.jsonl`` lists the skipped structures, the warnings and
        the names of labels (see `mml_data.importers.account.PartLog`).
    plan
        Labels to import. None if the part yields samples, which are stored unchanged.
    on_error
        ``"stop"`` raises the first error. ``"skip"`` lists the error and continues.
    compression
        Compression of the records.
    """

    part: Part
    shard: Path
    plan: LabelPlan | None
    on_error: OnError = "stop"
    compression: str | None = None

    @property
    def log(self) -> PartLog:
        """Log of the part."""
        return PartLog(self.shard.with_name(self.shard.stem.replace("shard", "log") + ".jsonl"))

    def __call__(self, report: Callable[[int], object], stopped: Callable[[], bool]) -> int:
        """Write the part, and return the number of structures in the shard.

        Parameters
        ----------
        report
            Function that is called with numbers of finished structures, the first time with the number of
            structures that were already in the shard.
        stopped
            Function that returns whether to stop. Committed structures are kept.

        Raises
        ------
        ValueError
            If a structure cannot be imported and `on_error` is ``"stop"``. The message names its position.
        OSError
            If the shard cannot be written.
        Stopped
            If `stopped` returned True.
        """
        writer, log = ShardWriter(self.shard), self.log
        try:
            position = log.resume(writer.count)
            if writer.count:
                report(writer.count)
            with log:
                self._write(writer, log, position, report, stopped)
            return writer.close()
        except BaseException:
            writer.abandon()
            raise

    def _write(
        self,
        writer: ShardWriter,
        log: PartLog,
        start: int,
        report: Callable[[int], object],
        stopped: Callable[[], bool],
    ) -> None:
        compress = compressor(self.compression)
        for number, block in _blocks(self.part.read(start), start):
            if stopped():
                writer.commit()
                raise Stopped
            records, failure = [], None
            try:
                samples = self._valid_samples(block, number, log)
                for position, (place, item) in enumerate(block, number):
                    try:
                        if samples is not None:
                            sample: Mapping[str, Any] = samples[position - number]
                        elif isinstance(item, Exception):
                            raise item
                        else:
                            sample = self._sample(item, position, log)
                        records.append(compress(encode_record(sample)))
                    except (TypeError, ValueError) as error:
                        if self.on_error == "stop":
                            raise ValueError(_located(place, error)) from error
                        log.skipped(position, place, error)
            except ValueError as error:
                failure = error
            log.flush()  # before the records, so that the log of a killed import covers all of them
            for record in records:
                writer.add(record)
            if records:
                report(len(records))
            if failure is not None:
                raise failure

    def _valid_samples(self, block: list[Item], start: int, log: PartLog) -> list[dict[str, Any]] | None:
        """Convert a block and check it at once. Return None if it may contain an invalid structure."""
        for position, (place, item) in enumerate(block, start):
            if isinstance(item, Mapping):
                for text in cast("list[str]", item.get("warnings") or ()):
                    log.warned(position, place, text)
        if self.plan is None or any(isinstance(item, Exception) for _, item in block):
            return None
        plan = self.plan
        try:
            converted = [to_sample(item, plan, check=False) for _, item in block]  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
        samples = [cast("dict[str, Any]", sample) for sample, _ in converted]
        if not check_block(samples, allow_close=plan.allow_close):
            return None
        for position, (_, recipe) in enumerate(converted, start):
            log.used(position, recipe)
        return samples

    def _sample(self, item: Mapping[str, Any], position: int, log: PartLog) -> Mapping[str, Any]:
        if self.plan is None:
            check_storable(item)
            return item
        sample, recipe = to_sample(item, self.plan)
        log.used(position, recipe)
        return sample


def _located(place: str, error: Exception) -> str:
    return str(error) if str(error).startswith(place) else f"{place}: {error}"


def _blocks(items: Iterator[Item], start: int) -> Iterator[tuple[int, list[Item]]]:
    """Yield blocks of items with the number of the first one. An exception follows the items before it."""
    failure: list[BaseException] = []

    def until_failure() -> Iterator[Item]:
        try:
            yield from items
        except Exception as error:
            failure.append(error)

    safe = until_failure()
    for first in safe:
        block = list(chain([first], islice(safe, _BLOCK - 1)))
        yield start, block
        start += len(block)
    if failure:
        raise failure[0]
