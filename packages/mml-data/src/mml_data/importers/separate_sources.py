"""Combine the sources of the training, validation and test splits to one source."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mml_data.importers.source import Item, Part, Source

__all__ = ["Files", "SeparateSources", "given_files"]

Files = str | Path | Sequence[str | Path] | None
"""One or several files or directories."""


def given_files(files: Mapping[str, Files]) -> list[tuple[str, Path]]:
    """Return the split and the path of each file or directory that is given."""
    return [
        (split, Path(path))
        for split, paths in files.items()
        for path in ([paths] if isinstance(paths, str | Path) else paths or [])
    ]


class SeparateSources:
    """Source for the structures of several sources, each of which is one split or a part of it.

    Parameters
    ----------
    sources
        Split, path and source of each, in the order of the splits.
    """

    def __init__(self, sources: Sequence[tuple[str, Path, Source]]) -> None:
        self.sources = sources
        root = Path(os.path.commonpath([path.resolve().parent for _, path, _ in sources]))
        # Files of the same name in two folders must remain different under ``extra.source``.
        self._folders = [
            (path if path.is_dir() else path.parent).resolve().relative_to(root).as_posix()
            for _, path, _ in sources
        ]
        self.splits_of_parts: list[str] = []

    @property
    def units(self) -> Mapping[str, str]:
        """Known units of the targets."""
        return {key: unit for _, _, source in self.sources for key, unit in source.units.items()}

    def describe(self) -> dict[str, Any]:
        """Return the descriptions of the sources for the manifest, and the sum of their files."""
        facts = [source.describe() for _, _, source in self.sources]
        passed_over = [each for fact in facts for each in _listed(fact.pop("passed_over", None))]
        return {
            "origin": ", ".join(str(fact["origin"]) for fact in facts),
            "format": ", ".join(dict.fromkeys(str(fact["format"]) for fact in facts)),
            "files": sum(int(str(fact.get("files", 1))) for fact in facts),
            "sources": [
                {"split": split, **fact} for (split, _, _), fact in zip(self.sources, facts, strict=True)
            ],
            **({"passed_over": passed_over} if passed_over else {}),
        }

    def parts(self, count: int) -> list[Part]:
        """Divide each source into at most `count` parts, and remember the split of each part."""
        parts: list[Part] = []
        self.splits_of_parts = []
        for (split, _, source), folder in zip(self.sources, self._folders, strict=True):
            found = source.parts(count)
            parts += [_Moved(part, folder) if folder != "." else part for part in found]
            self.splits_of_parts += [split] * len(found)
        return parts


@dataclass(frozen=True)
class _Moved:
    """Part whose structures have the folder of their source in ``extra.source``."""

    part: Part
    folder: str

    def read(self, start: int = 0) -> Iterator[Item]:
        for place, item in self.part.read(start):
            if not isinstance(item, Exception):
                extra: Any = item.get("extra") or {}
                if "source" in extra:
                    item = {**item, "extra": {**extra, "source": f"{self.folder}/{extra['source']}"}}
            yield place, item


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
