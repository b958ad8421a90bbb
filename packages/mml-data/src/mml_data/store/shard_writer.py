"""Write a shard in transactions, so that a killed writer loses only records that are not yet committed."""

from pathlib import Path

import lmdb

from mml_data.store.shards import KEY_BYTES, record_key

__all__ = ["ShardWriter"]

_FIRST_MAP_SIZE = 1 << 20
_WAITING_BYTES = 1 << 24


class ShardWriter:
    """Writer of one LMDB file. It appends to the records that the file already contains.

    Parameters
    ----------
    path
        Path of the file.
    batch_size
        Maximum number of records in one transaction. Large records are committed earlier.

    Raises
    ------
    OSError
        If the file cannot be opened or written. The message gives the reason.
    ValueError
        If the file exists and is not a valid shard.
    """

    def __init__(self, path: Path, batch_size: int = 1024) -> None:
        self.path = path
        self.batch_size = batch_size
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        size = path.stat().st_size if path.exists() else 0
        self._map_size = max(_FIRST_MAP_SIZE, 1 << (2 * size).bit_length())
        try:
            # No lock file, because the writer holds the lock of the directory. The file is synced once, when
            # it is closed.
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
            If the record cannot be written, for example because the disk is full. Committed records are kept.
        """
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        self.count += 1
        if len(self._waiting) >= self.batch_size or self._waiting_bytes >= _WAITING_BYTES:
            self.commit()

    def commit(self) -> None:
        """Write the waiting records in one transaction."""
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
                    f"{self._committed} records were written before and are kept"
                ) from error
            else:
                self._committed += len(self._waiting)
                self._waiting, self._waiting_bytes = [], 0

    def close(self) -> int:
        """Commit all records, sync the file to disk, close it, and return the number of records."""
        self.commit()
        try:
            self._environment.sync(True)
        except lmdb.Error as error:
            raise OSError(f"cannot write to {str(self.path)!r}: {error}") from error
        self._environment.close()
        return self.count

    def abandon(self) -> None:
        """Close the file. Committed records are kept, waiting records are lost."""
        self._environment.close()

    def _count(self) -> int:
        try:
            with self._environment.begin() as transaction, transaction.cursor() as cursor:
                last = cursor.key() if cursor.last() else None
            entries = self._environment.stat()["entries"]
        except lmdb.Error as error:
            self._environment.close()
            raise ValueError(f"{str(self.path)!r} is damaged: {error}; start again without resume") from error
        if entries and (last is None or len(last) != KEY_BYTES or last != record_key(entries - 1)):
            self._environment.close()
            raise ValueError(
                f"{str(self.path)!r} is not a shard that can be continued; start again without resume"
            )
        return int(entries)
