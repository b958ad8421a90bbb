"""Read records from the shards of a data set, which each process opens once, on first use.

A shard is an LMDB file. Its values are packs of records (see `mml_data.store.packs`), numbered from 0. All
packs but the last have the same number of records.

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
from threading import RLock, local
from typing import Any
from weakref import WeakValueDictionary

import lmdb

from mml_data.store.packs import Record, count_records, unpack_record, unpack_records

__all__ = ["KEY_BYTES", "Shard", "check_shard", "open_shard", "pack_key", "update_checksum"]

KEY_BYTES = 8

_CHECK = """
import pathlib, sys
from mml_data.store.shards import Shard
Shard(pathlib.Path(sys.argv[1])).check(int(sys.argv[2]), sys.argv[3])
"""

_opened: "WeakValueDictionary[tuple[int, int], Shard]" = WeakValueDictionary()
_lock = RLock()
_process = os.getpid()


def _after_fork() -> None:
    global _process
    _process = os.getpid()


# Asking for the process id at every read would take longer.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def pack_key(index: int) -> bytes:
    """Return the key of pack `index` of a shard. It is big-endian, so that LMDB sorts packs by index."""
    return index.to_bytes(KEY_BYTES, "big")


def update_checksum(checksum: Any, pack: bytes | memoryview) -> None:
    """Update the checksum of a shard with the length of a pack (8 bytes, little-endian) and its bytes."""
    checksum.update(len(pack).to_bytes(8, "little"))
    checksum.update(pack)


def _missing(path: Path) -> str:
    return f"shard {str(path)!r} is missing; import the data set again"


class Shard:
    """Open LMDB file, read-only. Use `open_shard` to create it.

    Attributes
    ----------
    count
        Number of records.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is damaged: it is not an LMDB file, or it is truncated.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = _process
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
        self._threads = local()
        try:
            self.count, self._pack_size = self._count()
        except (lmdb.Error, ValueError) as error:
            self.environment.close()
            raise ValueError(f"shard {str(path)!r} is damaged: {error}; import the data set again") from error

    def _count(self) -> tuple[int, int]:
        """Return the number of records, and the number of records in each pack but the last."""
        packs = int(self.environment.stat()["entries"])
        if not packs:
            return 0, 1
        transaction = self._transaction()
        ends = [transaction.get(pack_key(index)) for index in (0, packs - 1)]
        if None in ends:
            raise ValueError(f"one of its {packs} packs is missing")
        first, last = map(count_records, ends)
        return (packs - 1) * first + last, first

    def _transaction(self) -> Any:
        """Return the read transaction of this thread. It stays open, because the shard does not change."""
        try:
            return self._threads.transaction
        except AttributeError:
            transaction = self._threads.transaction = self.environment.begin(buffers=True)
            return transaction

    def is_ours(self) -> bool:
        """Return whether this process opened the shard, and not the process that it was forked from."""
        return self._process == _process

    def get(self, index: int) -> Record:
        """Return record `index`.

        Raises
        ------
        ValueError
            If the record is missing or cannot be read. The message does not name the record.
        """
        number, position = divmod(index, self._pack_size)
        try:
            pack = self._transaction().get(number.to_bytes(KEY_BYTES, "big"))
        except lmdb.Error as error:
            raise ValueError(f"the record cannot be read ({error}); import the data set again") from error
        if pack is None or index >= self.count:
            raise ValueError("the record is missing; import the data set again")
        return unpack_record(pack, position)

    def records(self) -> Iterator[Record]:
        """Yield the records in order."""
        for _, pack in self.packs():
            yield from unpack_records(pack)

    def packs(self) -> Iterator[tuple[bytes, memoryview]]:
        """Yield every key and its pack, in order. A pack is valid only until the next iteration."""
        with self.environment.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            for key, pack in cursor:
                yield bytes(key), pack

    def check(self, count: int, sha256: str) -> None:
        """Check the number of records, their keys and their checksum.

        Raises
        ------
        ValueError
            If one of these does not match the manifest.
        """
        checksum, found = hashlib.sha256(), 0
        try:
            for number, (key, pack) in enumerate(self.packs()):
                if key != pack_key(number):
                    raise ValueError(
                        f"shard {str(self.path)!r} is damaged: key {number} is {key.hex()}; "
                        "import the data set again"
                    )
                update_checksum(checksum, pack)
                found += count_records(pack)
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
    command = [sys.executable, "-P", "-c", _CHECK, str(path), str(count), sha256]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise ValueError(
            f"shard {str(path)!r} is damaged: LMDB crashes on reading it; import the data set again"
        )
    if done.returncode:
        raise ValueError(done.stderr.strip().rpartition("ValueError: ")[2])
