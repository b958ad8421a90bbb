import hashlib
import os
import random
import shutil

import lmdb
import pytest
from mml_data.store.shards import Shard, check_shard, open_shard, record_key, update_checksum

RECORDS = [bytes([index]) * (index * 7) for index in range(1, 60)]


def checksum(records):
    sha256 = hashlib.sha256()
    for record in records:
        update_checksum(sha256, record)
    return sha256.hexdigest()


def write(path, records):
    with (
        lmdb.open(str(path), subdir=False, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for index, record in enumerate(records):
            transaction.put(record_key(index), record)
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "shard-00000.lmdb", RECORDS)


def test_records_keep_order(tmp_path):
    shard = open_shard(write(tmp_path / "many.lmdb", [str(index).encode() for index in range(300)]))
    assert [record.tobytes() for _, record in shard.records()] == [
        str(index).encode() for index in range(300)
    ]
    assert shard.get(259) == b"259"


def test_process_opens_file_once(path, tmp_path):
    (tmp_path / "link.lmdb").symlink_to(path)
    assert open_shard(path) is open_shard(tmp_path / "link.lmdb")


def test_replaced_file_is_reopened(path, tmp_path):
    old = open_shard(path)
    write(tmp_path / "new.lmdb", [b"new"]).rename(path)
    assert open_shard(path).get(0) == b"new"
    assert old.get(0) == RECORDS[0]


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_forked_child_reopens_file(path):
    shard = open_shard(path)
    child = os.fork()
    if child == 0:
        mine = open_shard(path)
        os._exit(0 if mine is not shard and mine.get(3) == RECORDS[3] and not shard.is_ours() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shard.get(3) == RECORDS[3]


def test_check_finds_wrong_count_and_checksum(path):
    check_shard(path, len(RECORDS), checksum(RECORDS))
    with pytest.raises(
        ValueError, match=f"must have 3 records according to the manifest, got {len(RECORDS)}"
    ):
        check_shard(path, 3, checksum(RECORDS))
    with pytest.raises(ValueError, match="does not match its checksum in the manifest"):
        check_shard(path, len(RECORDS), checksum(RECORDS[::-1]))


def test_checksum_depends_on_record_ends():
    assert checksum([b"ab", b"c"]) != checksum([b"a", b"bc"])


def test_gap_in_keys_raises(tmp_path):
    path = tmp_path / "gap.lmdb"
    with (
        lmdb.open(str(path), subdir=False, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(record_key(0), b"a")
        transaction.put(record_key(2), b"b")
    with pytest.raises(ValueError, match="key 1 is 0000000000000002"):
        check_shard(path, 2, checksum([b"a", b"b"]))
    with pytest.raises(ValueError, match="the record is missing"):
        open_shard(path).get(1)


def test_flipped_bit_raises(path):
    content = path.read_bytes()
    for index in (10, 30, 50):
        flipped = bytearray(RECORDS[index])
        flipped[random.Random(index).randrange(len(flipped))] ^= 1 << (index % 8)
        # In every place, as pages that are no longer used may hold it too.
        path.write_bytes(content.replace(RECORDS[index], bytes(flipped)))
        with pytest.raises(ValueError, match=r"shard-00000\.lmdb' does not match its checksum"):
            check_shard(path, len(RECORDS), checksum(RECORDS))


@pytest.mark.parametrize("byte", [10, 12, 16, 20])
def test_damaged_pages_raise(path, byte):
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 + byte] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^shard '.*shard-00000\.lmdb' .*$"):
        check_shard(path, len(RECORDS), checksum(RECORDS))


def test_damaged_or_missing_file_raises(path, tmp_path):
    cut = tmp_path / "cut.lmdb"
    cut.write_bytes(path.read_bytes()[: 3 * 4096])
    with pytest.raises(ValueError, match=r"cut\.lmdb' is damaged: expected at least \d+ bytes, got 12288"):
        Shard(cut)
    (tmp_path / "text.lmdb").write_text("this is no database\n" * 1000)
    (tmp_path / "empty.lmdb").touch()
    with pytest.raises(ValueError, match=r"empty\.lmdb' is damaged: it is empty"):
        open_shard(tmp_path / "empty.lmdb")
    with pytest.raises(ValueError, match=r"text\.lmdb' is damaged"):
        Shard(tmp_path / "text.lmdb")
    for read in (open_shard, lambda file: check_shard(file, 1, "")):
        with pytest.raises(FileNotFoundError, match=r"none\.lmdb' is missing"):
            read(tmp_path / "none.lmdb")


def test_read_only_shard_opens(path, tmp_path):
    directory = tmp_path / "fixed"
    directory.mkdir()
    shutil.copy(path, directory / "a.lmdb")
    directory.chmod(0o555)
    assert open_shard(directory / "a.lmdb").get(0) == RECORDS[0]
    assert [file.name for file in directory.iterdir()] == ["a.lmdb"]
