"""Read records from the shards of a data set: opened once a process, on first use.

LMDB lets a process open a file once, and an open environment must not be used in a forked child. All
readers of a process therefore share the environments of this module, and a child that finds its parent's
opens its own.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import RLock
from typing import Any
from weakref import WeakValueDictionary

import lmdb

__all__ = ["KEY_BYTES", "Shard", "check_shard", "open_shard", "record_key", "update_checksum"]

KEY_BYTES = 8

_opened: "WeakValueDictionary[tuple[int, int], Shard]" = WeakValueDictionary()
_lock = RLock()


def record_key(index: int) -> bytes:
    """Key of record `index` of a shard: big-endian, so that LMDB's order is the order of the records."""
    return index.to_bytes(KEY_BYTES, "big")


def update_checksum(checksum: Any, record: bytes | memoryview) -> None:
    """Take a record into its shard's checksum: its length as eight little-endian bytes, then its bytes."""
    checksum.update(len(record).to_bytes(8, "little"))
    checksum.update(record)


def _missing(path: Path) -> str:
    return f"the shard {str(path)!r} is missing: the data set is incomplete, import it again"


class Shard:
    """One open LMDB file, read only; get it from `open_shard`.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file is damaged: not LMDB, or shorter than LMDB left it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = os.getpid()
        if not path.is_file():
            raise FileNotFoundError(_missing(path))
        if not path.stat().st_size:  # LMDB would try to write a header, and name a bad file descriptor
            raise ValueError(f"the shard {str(path)!r} is damaged: it is empty; import the data set again")
        try:
            self.environment = lmdb.open(
                str(path), subdir=False, readonly=True, lock=False, readahead=False, max_readers=1024
            )
        except lmdb.Error as error:
            raise ValueError(
                f"the shard {str(path)!r} is damaged: {error}; import the data set again"
            ) from error
        # Reading past the end of a memory map kills the process, so a cut file must be found here.
        size = (self.environment.info()["last_pgno"] + 1) * self.environment.stat()["psize"]
        if path.stat().st_size < size:
            self.environment.close()
            raise ValueError(
                f"the shard {str(path)!r} is damaged: it has {path.stat().st_size} of at least {size} bytes; "
                "import the data set again"
            )

    def is_ours(self) -> bool:
        """Whether this process opened it, and not the one that it was forked from."""
        return self._process == os.getpid()

    def get(self, index: int) -> bytes:
        """Return record `index`.

        Raises
        ------
        ValueError
            Where it is not there or cannot be read; the message does not say which one it is.
        """
        try:
            with self.environment.begin() as transaction:
                record = transaction.get(record_key(index))
        except lmdb.Error as error:
            raise ValueError(f"it cannot be read ({error}); import the data set again") from error
        if record is None:
            raise ValueError("it is missing; import the data set again")
        return record

    def records(self) -> Iterator[tuple[bytes, memoryview]]:
        """Yield every key with its record, in order; a record is only valid until the next one."""
        with self.environment.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            for key, record in cursor:
                yield bytes(key), record

    def check(self, count: int, sha256: str) -> None:
        """Check the number of records, their keys, and their checksum.

        Raises
        ------
        ValueError
            Where one of them is not what the manifest says.
        """
        checksum, found = hashlib.sha256(), 0
        try:
            for key, record in self.records():
                if key != record_key(found):
                    raise ValueError(
                        f"the shard {str(self.path)!r} is damaged: its key {found} is {key.hex()}"
                    )
                update_checksum(checksum, record)
                found += 1
        except lmdb.Error as error:
            raise ValueError(
                f"the shard {str(self.path)!r} is damaged after record {found}: {error}"
            ) from error
        if found != count:
            raise ValueError(f"the shard {str(self.path)!r} holds {found} records, the manifest says {count}")
        if checksum.hexdigest() != sha256:
            raise ValueError(
                f"the records of the shard {str(self.path)!r} do not match the checksum in the manifest: "
                "they were changed after they were written; import the data set again"
            )


def open_shard(path: Path) -> Shard:
    """Open the shard at `path`, or return the one that this process has open already."""
    with _lock:
        try:
            status = path.stat()
        except FileNotFoundError:
            return Shard(path)
        file = (status.st_dev, status.st_ino)
        shard = _opened.get(file)
        if shard is not None and not shard.is_ours():
            shard.environment.close()
            shard = None
        if shard is None:
            shard = _opened[file] = Shard(path)
        return shard


def check_shard(path: Path, count: int, sha256: str) -> None:
    """Do `Shard.check` in a process of its own, as LMDB may kill the one that reads a damaged file.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the shard is not what the manifest says.
    """
    if not path.is_file():
        raise FileNotFoundError(_missing(path))
    # This file alone is run, without the package: that needs neither torch nor seconds.
    command = [sys.executable, "-P", __file__, str(path), str(count), sha256]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise ValueError(f"the shard {str(path)!r} is damaged: LMDB fails on it; import the data set again")
    if done.returncode:
        raise ValueError(done.stderr.strip().rpartition("ValueError: ")[2])


if __name__ == "__main__":
    Shard(Path(sys.argv[1])).check(int(sys.argv[2]), sys.argv[3])
