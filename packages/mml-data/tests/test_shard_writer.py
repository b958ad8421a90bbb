import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.store.packs import Record
from mml_data.store.shard_writer import ShardWriter
from mml_data.store.shards import open_shard


def record(body):
    return Record(b"layout", body)


def records(path):
    return [bytes(body) for _, body in open_shard(path).records()]


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=50), max_size=90), min_size=1, max_size=4),
    st.integers(1, 200),
)
def test_later_writers_append(tmp_path_factory, runs, batch_size):
    path = tmp_path_factory.mktemp("shard") / "shard-00000.lmdb"
    done = []
    for run in runs:
        writer = ShardWriter(path, batch_size)
        assert writer.count == len(done)
        for body in run:
            writer.add(record(body))
        done += run
        assert writer.close() == len(done)
    assert records(path) == done


def test_abandon_loses_uncommitted_records_only(tmp_path):
    path = tmp_path / "shard-00000.lmdb"
    writer = ShardWriter(path, batch_size=4)
    for number in range(10):
        writer.add(record(bytes([number])))
    assert writer.count == 10
    writer.abandon()
    again = ShardWriter(path)
    assert again.count == 8
    again.abandon()


def test_large_records_commit_early(tmp_path):
    writer = ShardWriter(tmp_path / "shard-00000.lmdb", batch_size=1000)
    for _ in range(5):
        writer.add(record(bytes(5 << 20)))
    writer.abandon()
    assert ShardWriter(tmp_path / "shard-00000.lmdb").count == 4


def test_foreign_file_raises(tmp_path):
    path = tmp_path / "shard-00000.lmdb"
    environment = lmdb.open(str(path), subdir=False, lock=False)
    with environment.begin(write=True) as transaction:
        transaction.put(b"key", b"value")
    environment.close()
    with pytest.raises(ValueError, match=r"is not a shard that can be continued \(.*\); start again"):
        ShardWriter(path)
    path.write_bytes(b"x" * 10_000)
    with pytest.raises(OSError, match="cannot write to"):
        ShardWriter(path)
