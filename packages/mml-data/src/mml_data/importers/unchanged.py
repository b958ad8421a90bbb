"""Notice that a file changes while it is imported."""

from collections.abc import Iterable
from pathlib import Path

from mml_data.importers.account import Unusable

__all__ = ["Unchanged"]


class Unchanged:
    """Callable that checks that no file has changed since it was created.

    Parameters
    ----------
    paths
        Files, and directories with all their files.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._before = {file: _stamp(file) for path in paths for file in _files(Path(path))}

    def __call__(self) -> None:
        """Compare the sizes and times of all files.

        Raises
        ------
        Unusable
            If a file has changed or is gone.
        """
        for file, before in self._before.items():
            if _stamp(file) != before:
                raise Unusable(
                    f"{str(file)!r} changed while it was imported, so that the data set could contain parts "
                    "of both versions; import it again when no other program writes to it"
                )


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
