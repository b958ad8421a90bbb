"""Read records from the shards of a data set, which each process opens once, on first use.

LMDB allows a process to open a file only once, and an open environment must not be used in a forked child
process. All readers of a process therefore share the environments of this module. A child process that finds
an environment of its parent opens its own.
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
    """Return the key of record `index` of a shard. It is big-endian, so that LMDB sorts records by index."""
    return index.to_bytes(KEY_BYTES, "big")


def update_checksum(checksum: Any, record: bytes | memoryview) -> None:
    """Update the checksum of a shard with the length of a record (8 bytes, little-endian) and its bytes."""
    checksum.update(len(record).to_bytes(8, "little"))
    checksum.update(record)


def _missing(path: Path) -> str:
    return f"shard {str(path)!r} is missing; import the data set again"


class Shard:
    """Open LMDB file, read-only. Use `open_shard` to create it.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is damaged: it is not an LMDB file, or it is truncated.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = os.getpid()
        if not path.is_file():
            raise FileNotFoundError(_missing(path))
        if not path.stat().st_size:  # LMDB would try to write a header, and report a bad file descriptor
            raise ValueError(f"shard {str(path)!r} is damaged: it is empty; import the data set again")
        try:
            self.environment = lmdb.open(
                str(path), subdir=False, readonly=True, lock=False, readahead=False, max_readers=1024
            )
        except lmdb.Error as error:
            raise ValueError(f"shard {str(path)!r} is damaged: {error}; import the data set again") from error
        # Reading past the end of a memory map kills the process, so a truncated file must be detected here.
        size = (self.environment.info()["last_pgno"] + 1) * self.environment.stat()["psize"]
        if path.stat().st_size < size:
            self.environment.close()
            raise ValueError(
                f"shard {str(path)!r} is damaged: expected at least {size} bytes, got {path.stat().st_size}; "
                "import the data set again"
            )

    def is_ours(self) -> bool:
        """Return whether this process opened the shard, and not the process that it was forked from."""
        return self._process == os.getpid()

    def get(self, index: int) -> bytes:
        """Return record `index`.

        Raises
        ------
        ValueError
            If the record is missing or cannot be read. The message does not name the record.
        """
        try:
            with self.environment.begin() as transaction:
                record = transaction.get(record_key(index))
        except lmdb.Error as error:
            raise ValueError(f"the record cannot be read ({error}); import the data set again") from error
        if record is None:
            raise ValueError("the record is missing; import the data set again")
        return record

    def records(self) -> Iterator[tuple[bytes, memoryview]]:
        """Yield every key and its record, in order. A record is valid only until the next iteration."""
        with self.environment.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            for key, record in cursor:
                yield bytes(key), record

    def check(self, count: int, sha256: str) -> None:
        """Check the number of records, their keys and their checksum.

        Raises
        ------
        ValueError
            If one of these does not match the manifest.
        """
        checksum, found = hashlib.sha256(), 0
        try:
            for key, record in self.records():
                if key != record_key(found):
                    raise ValueError(
                        f"shard {str(self.path)!r} is damaged: key {found} is {key.hex()}; "
                        "import the data set again"
                    )
                update_checksum(checksum, record)
                found += 1
        except lmdb.Error as error:
            raise ValueError(
                f"shard {str(self.path)!r} is damaged after record {found}: {error}; import the data set "
                "again"
            ) from error
        if found != count:
            raise ValueError(
                f"shard {str(self.path)!r} must have {count} records according to the manifest, got {found}; "
                "import the data set again"
            )
        if checksum.hexdigest() != sha256:
            raise ValueError(
                f"shard {str(self.path)!r} does not match its checksum in the manifest, because its "
                "records were changed after writing; import the data set again"
            )


def open_shard(path: Path) -> Shard:
    """Open the shard at `path`, or return it if this process has already opened it."""
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
    """Run `Shard.check` in a separate process, because LMDB can kill a process that reads a damaged file.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the shard does not match the manifest.
    """
    if not path.is_file():
        raise FileNotFoundError(_missing(path))
    # Run this file alone, without the package: this avoids importing torch and takes less time.
    command = [sys.executable, "-P", __file__, str(path), str(count), sha256]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise ValueError(
            f"shard {str(path)!r} is damaged: LMDB crashes on reading it; import the data set again"
        )
    if done.returncode:
        raise ValueError(done.stderr.strip().rpartition("ValueError: ")[2])


if __name__ == "__main__":
    Shard(Path(sys.argv[1])).check(int(sys.argv[2]), sys.argv[3])
