"""Write one shard: records in transactions, so that a killed writer loses only what was not yet committed."""

from pathlib import Path

import lmdb

from mml_data.shards import KEY_BYTES, record_key

__all__ = ["ShardWriter"]

_FIRST_MAP_SIZE = 1 << 20
_WAITING_BYTES = 1 << 24


class ShardWriter:
    """One LMDB file while it is written; it goes on after the records that it holds already.

    Parameters
    ----------
    path
        The file.
    batch_size
        Most records in one transaction; one of many bytes is committed earlier.

    Raises
    ------
    OSError
        Where the file cannot be opened or written: the message says why.
    ValueError
        Where there is a file that is no shard of ours.
    """

    def __init__(self, path: Path, batch_size: int = 1024) -> None:
        self.path = path
        self.batch_size = batch_size
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        size = path.stat().st_size if path.exists() else 0
        self._map_size = max(_FIRST_MAP_SIZE, 1 << (2 * size).bit_length())
        try:
            # No lock file: whoever writes holds the lock of the directory. Synced once, when it is closed.
            self._environment = lmdb.open(
                str(path), subdir=False, lock=False, sync=False, map_size=self._map_size
            )
        except lmdb.Error as error:
            raise OSError(f"cannot write to {str(path)!r}: {error}") from error
        self.count = self._committed = self._count()

    def add(self, record: bytes) -> None:
        """Append a record.

        Raises
        ------
        OSError
            Where it cannot be written, as when the disk is full; what was committed before stays.
        """
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        self.count += 1
        if len(self._waiting) >= self.batch_size or self._waiting_bytes >= _WAITING_BYTES:
            self.commit()

    def commit(self) -> None:
        """Write what is waiting, in one transaction."""
        while self._waiting:
            try:
                with self._environment.begin(write=True) as transaction:
                    for index, record in enumerate(self._waiting, self._committed):
                        transaction.put(record_key(index), record, append=True)
            except lmdb.MapFullError:
                self._map_size *= 2
                self._environment.set_mapsize(self._map_size)
            except lmdb.Error as error:
                raise OSError(
                    f"cannot write to {str(self.path)!r}: {error}; "
                    f"{self._committed} records were written before and stay there"
                ) from error
            else:
                self._committed += len(self._waiting)
                self._waiting, self._waiting_bytes = [], 0

    def close(self) -> int:
        """Write everything, have the system put it on disk, and return the number of records."""
        self.commit()
        try:
            self._environment.sync(True)
        except lmdb.Error as error:
            raise OSError(f"cannot write to {str(self.path)!r}: {error}") from error
        self._environment.close()
        return self.count

    def abandon(self) -> None:
        """Close it; what was committed stays, what is waiting is lost."""
        self._environment.close()

    def _count(self) -> int:
        try:
            with self._environment.begin() as transaction, transaction.cursor() as cursor:
                last = cursor.key() if cursor.last() else None
            entries = self._environment.stat()["entries"]
        except lmdb.Error as error:
            self._environment.close()
            raise ValueError(f"{str(self.path)!r} is damaged: {error}; start anew") from error
        if entries and (last is None or len(last) != KEY_BYTES or last != record_key(entries - 1)):
            self._environment.close()
            raise ValueError(f"{str(self.path)!r} is no shard that can be gone on with: start anew")
        return int(entries)
