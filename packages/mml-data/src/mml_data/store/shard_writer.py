"""Write a shard in transactions, so that a killed writer loses only records that are not yet committed."""

from pathlib import Path

import lmdb

from mml_data.store.packs import Record, count_records, pack_records, pack_size, unpack_record, unpack_records
from mml_data.store.shards import pack_key

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
        self._waiting: list[Record] = []
        self._waiting_bytes = 0
        self._pack_size = 0  # known with the first record
        self._written = 0  # number of packs in the file
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
        # Records of an incomplete last pack wait again, and the pack is written once more when it has grown.
        self._packs, self._waiting = self._read_ends()
        self._committed = self.count = self._packs * self._pack_size + len(self._waiting)

    def add(self, record: Record) -> None:
        """Append a record.

        Raises
        ------
        OSError
            If the record cannot be written, for example because the disk is full. Committed records are kept.
        """
        self._pack_size = self._pack_size or pack_size(record)
        self._waiting.append(record)
        self._waiting_bytes += len(record.body)
        self.count += 1
        if self.count - self._committed >= self.batch_size or self._waiting_bytes >= _WAITING_BYTES:
            self.commit()

    def commit(self) -> None:
        """Write the waiting records in one transaction."""
        size = self._pack_size
        while self.count > self._committed:
            packs = [self._waiting[start : start + size] for start in range(0, len(self._waiting), size)]
            try:
                with self._environment.begin(write=True) as transaction:
                    for number, records in enumerate(packs, self._packs):
                        is_new = number >= self._written
                        transaction.put(pack_key(number), pack_records(records), append=is_new)
            except lmdb.MapFullError:
                self._map_size *= 2
                self._environment.set_mapsize(self._map_size)
            except lmdb.Error as error:
                raise OSError(
                    f"cannot write to {str(self.path)!r}: {error}; "
                    f"{self._committed} records were written before and are kept"
                ) from error
            else:
                self._written = self._packs + len(packs)
                self._packs += len(self._waiting) // size
                self._waiting = self._waiting[len(self._waiting) // size * size :]
                self._committed, self._waiting_bytes = self.count, 0

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

    def _read_ends(self) -> tuple[int, list[Record]]:
        """Return the number of complete packs, and the records of an incomplete last pack."""
        try:
            packs = self._written = int(self._environment.stat()["entries"])
            if not packs:
                return 0, []
            with self._environment.begin() as transaction, transaction.cursor() as cursor:
                first, last = (transaction.get(pack_key(number)) for number in (0, packs - 1))
                known = cursor.last() and cursor.key() == pack_key(packs - 1)
        except lmdb.Error as error:
            self._environment.close()
            raise ValueError(f"{str(self.path)!r} is damaged: {error}; start again without resume") from error
        try:
            if not known or first is None or last is None:
                raise ValueError(f"its packs are not numbered from 0 to {packs - 1}")
            self._pack_size = count_records(first) if packs > 1 else pack_size(unpack_record(first, 0))
            rest = list(unpack_records(last))
        except (IndexError, ValueError) as error:
            self._environment.close()
            raise ValueError(
                f"{str(self.path)!r} is not a shard that can be continued ({error}); start again without "
                "resume"
            ) from error
        return (packs, []) if len(rest) == self._pack_size else (packs - 1, rest)
