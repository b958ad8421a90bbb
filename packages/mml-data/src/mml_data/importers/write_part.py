"""Write one part of a source as one shard, in a process of an import."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mml_data.importers.source import Part
from mml_data.importers.structure import to_sample
from mml_data.importers.targets import TargetKinds
from mml_data.store.checks import check_storable
from mml_data.store.codec import compressor
from mml_data.store.records import encode_record
from mml_data.store.shard_writer import ShardWriter

__all__ = ["OnError", "PartWriter", "Stopped"]

OnError = Literal["stop", "skip"]


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
        Path of the shard. Beside it, ``errors-<number>.jsonl`` lists the skipped structures.
    kinds
        Kinds of the targets. None if the part yields samples, which are stored unchanged.
    on_error
        ``"stop"`` raises the first error. ``"skip"`` lists the error and continues.
    compression
        Compression of the records.
    """

    part: Part
    shard: Path
    kinds: TargetKinds | None
    on_error: OnError = "stop"
    compression: str | None = None

    @property
    def errors(self) -> Path:
        """Path of the list of skipped structures."""
        return self.shard.with_name(self.shard.stem.replace("shard", "errors") + ".jsonl")

    def __call__(self, report: Callable[[int], object], stopped: Callable[[], bool]) -> int:
        """Write the part, and return the number of structures in the shard.

        Parameters
        ----------
        report
            Function that is called with 1 for each finished structure, and once with the number of structures
            that were already in the shard.
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
        writer = ShardWriter(self.shard)
        try:
            skipped = self._skipped()
            position = writer.count
            for failed in sorted(skipped):
                position += failed < position
            self._keep([skipped[failed] for failed in sorted(skipped) if failed < position])
            if writer.count:
                report(writer.count)
            self._write(writer, position, report, stopped)
            return writer.close()
        except BaseException:
            writer.abandon()
            raise

    def _write(
        self, writer: ShardWriter, start: int, report: Callable[[int], object], stopped: Callable[[], bool]
    ) -> None:
        compress = compressor(self.compression)
        for number, (place, item) in enumerate(self.part.read(start), start):
            if stopped():
                writer.commit()
                raise Stopped
            try:
                if isinstance(item, Exception):
                    raise item
                record = compress(encode_record(self._sample(item)))
            except (TypeError, ValueError) as error:
                message = str(error) if str(error).startswith(place) else f"{place}: {error}"
                if self.on_error == "stop":
                    raise ValueError(message) from error
                with self.errors.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"position": number, "place": place, "error": str(error)}) + "\n")
                continue
            writer.add(record)
            report(1)

    def _sample(self, item: Mapping[str, object]) -> Mapping[str, object]:
        if self.kinds is not None:
            return to_sample(item, self.kinds)
        check_storable(item)
        return item

    def _skipped(self) -> dict[int, str]:
        """Return the lines of the list of errors by position. An incomplete line is ignored."""
        if not self.errors.exists():
            return {}
        lines = self.errors.read_text(encoding="utf-8").splitlines(keepends=True)
        return {json.loads(line)["position"]: line for line in lines if line.endswith("\n")}

    def _keep(self, lines: list[str]) -> None:
        if lines:
            self.errors.write_text("".join(lines), encoding="utf-8")
        else:
            self.errors.unlink(missing_ok=True)
