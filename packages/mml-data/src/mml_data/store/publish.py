"""Write a directory beside its destination and move it there in one step."""

import errno
import fcntl
import logging
import os
import re
import shutil
from pathlib import Path

from mml_data.store.manifest import MANIFEST_FILE

__all__ = ["PartialDirectory"]

logger = logging.getLogger(__name__)

_OUR_FILES = re.compile(
    r"manifest\.json|shard-\d+\.lmdb|split-[A-Za-z0-9_.-]+\.npy|natoms\.npy|nedges\.npy|errors\.jsonl"
)
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class PartialDirectory:
    """Directory ``.<name>.partial`` beside `destination`, for a data set that is not yet complete.

    The directory is locked while it is written. The next writer continues with the files of a killed writer
    or removes them.

    Parameters
    ----------
    destination
        Final path of the directory, absolute.
    overwrite
        Whether an existing data set may be replaced. A directory with any other files is never replaced.

    Raises
    ------
    FileExistsError
        If `destination` exists and may not be replaced.
    """

    def __init__(self, destination: Path, *, overwrite: bool) -> None:
        self.destination = destination
        self.overwrite = overwrite
        self.path = destination.parent / f".{destination.name}.partial"
        self._previous = destination.parent / f".{destination.name}.previous"
        self._descriptor: int | None = None
        self._check()

    def create(self, *, resume: bool = False) -> None:
        """Create and lock the directory.

        Keep the files of an interrupted writer if `resume` is True, otherwise remove them.

        Raises
        ------
        BlockingIOError
            If another process is writing to the directory.
        FileExistsError
            If `destination` has been created in the meantime and may not be replaced.
        OSError
            If the directory cannot be created.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (
                f"{error.strerror}: cannot write beside {str(self.destination)!r}; choose another destination"
            )
            raise OSError(error.errno, reason, str(self.path)) from error
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except (BlockingIOError, FileNotFoundError):
            locked = False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning(
                "%s: this file system does not support locks; make sure that no other process writes to it",
                self.path,
            )
            locked = True
        if not locked:
            self._unlock()
            raise BlockingIOError(
                f"another process is writing to {str(self.destination)!r}; wait until it ends"
            )
        for leftover in self.path.iterdir():
            if not resume:
                leftover.unlink()
        if not self.destination.exists() and self._previous.exists():
            # The previous writer was killed between the two renames in publish().
            self._previous.rename(self.destination)
        try:
            self._check()
        except FileExistsError:
            self.release()
            raise

    def publish(self) -> None:
        """Move the directory to `destination` and remove the data set that it replaces."""
        self._check()
        for file in self.path.iterdir():
            if not _OUR_FILES.fullmatch(file.name):
                file.unlink()
        _sync(self.path)
        if (self.destination / MANIFEST_FILE).exists():
            self._remove_previous()
            self.destination.rename(self._previous)
        self.path.rename(self.destination)
        _sync(self.destination.parent)
        self._remove_previous()

    def release(self, *, keep: bool = False) -> None:
        """Unlock the directory. If it is not published, remove it, unless `keep` is True."""
        if self._descriptor is not None:
            if (
                not keep
                and self.path.exists()
                and os.path.samestat(os.fstat(self._descriptor), self.path.stat())
            ):
                shutil.rmtree(self.path)
            self._unlock()

    def _check(self) -> None:
        here = repr(str(self.destination))
        if not self.destination.exists():
            return
        if not self.destination.is_dir():
            raise FileExistsError(f"{here} is a file; choose a directory for the data set")
        files = [file.name for file in self.destination.iterdir()]
        foreign = sorted(file for file in files if not _OUR_FILES.fullmatch(file))
        if files and (foreign or MANIFEST_FILE not in files):
            raise FileExistsError(
                f"{here} contains other files ({(foreign or sorted(files))[0]!r}); choose another directory"
            )
        if files and not self.overwrite:
            raise FileExistsError(
                f"{here} is already a data set; choose another directory, or pass overwrite=True "
                "(--overwrite)"
            )

    def _remove_previous(self) -> None:
        if self._previous.exists():
            shutil.rmtree(self._previous)

    def _unlock(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _sync(directory: Path) -> None:
    """Sync the files of `directory`, and the directory itself, to disk."""
    for path in (
        *(file for file in directory.iterdir() if file.is_file() and _OUR_FILES.fullmatch(file.name)),
        directory,
    ):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
