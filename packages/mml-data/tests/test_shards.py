import hashlib
import os
import random
import shutil

import lmdb
import pytest
from mml_data.store.packs import Record, pack_records
from mml_data.store.shards import Shard, check_shard, open_shard, pack_key, update_checksum

RECORDS = [Record(b"layout", bytes([index]) * (index * 7)) for index in range(1, 60)]
PACKS = [pack_records(RECORDS[start : start + 8]) for start in range(0, len(RECORDS), 8)]


def checksum(packs):
    sha256 = hashlib.sha256()
    for pack in packs:
        update_checksum(sha256, pack)
    return sha256.hexdigest()


def write(path, packs):
    with (
        lmdb.open(str(path), subdir=False, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for index, pack in enumerate(packs):
            transaction.put(pack_key(index), pack)
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "shard-00000.lmdb", PACKS)


def test_records_keep_order(tmp_path):
    records = [Record(b"", str(index).encode()) for index in range(300)]
    packs = [pack_records(records[start : start + 7]) for start in range(0, 300, 7)]
    shard = open_shard(write(tmp_path / "many.lmdb", packs))
    assert shard.count == 300
    assert list(shard.records()) == records
    assert [shard.get(index) for index in range(300)] == records
    for index in (300, 301, 1000):
        with pytest.raises(ValueError, match="the record is missing"):
            shard.get(index)


def test_process_opens_file_once(path, tmp_path):
    (tmp_path / "link.lmdb").symlink_to(path)
    assert open_shard(path) is open_shard(tmp_path / "link.lmdb")


def test_replaced_file_is_reopened(path, tmp_path):
    old = open_shard(path)
    write(tmp_path / "new.lmdb", [pack_records([Record(b"", b"new")])]).rename(path)
    assert open_shard(path).get(0).body == b"new"
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
    check_shard(path, len(RECORDS), checksum(PACKS))
    with pytest.raises(
        ValueError, match=f"must have 3 records according to the manifest, got {len(RECORDS)}"
    ):
        check_shard(path, 3, checksum(PACKS))
    with pytest.raises(ValueError, match="does not match its checksum in the manifest"):
        check_shard(path, len(RECORDS), checksum(PACKS[::-1]))


def test_checksum_depends_on_record_ends():
    assert checksum([b"ab", b"c"]) != checksum([b"a", b"bc"])


def test_gap_in_keys_raises(tmp_path):
    path = tmp_path / "gap.lmdb"
    with (
        lmdb.open(str(path), subdir=False, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(pack_key(0), PACKS[0])
        transaction.put(pack_key(2), PACKS[1])
    with pytest.raises(ValueError, match="one of its 2 packs is missing"):
        check_shard(path, 16, checksum(PACKS[:2]))
    with (
        lmdb.open(str(path), subdir=False, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"0000000 ", PACKS[2])
        transaction.put(pack_key(1), PACKS[1])
        transaction.delete(pack_key(0))
        transaction.put(pack_key(0), PACKS[0])
        transaction.delete(pack_key(2))
        transaction.put(pack_key(2), PACKS[2])
    with pytest.raises(ValueError, match="one of its 4 packs is missing"):
        open_shard(path)


def test_flipped_bit_raises(path):
    content = path.read_bytes()
    for index in (10, 30, 50):
        body = RECORDS[index].body
        flipped = bytearray(body)
        flipped[random.Random(index).randrange(len(flipped))] ^= 1 << (index % 8)
        # In every place, as pages that are no longer used may hold it too.
        path.write_bytes(content.replace(body, bytes(flipped)))
        with pytest.raises(ValueError, match=r"shard-00000\.lmdb' does not match its checksum"):
            check_shard(path, len(RECORDS), checksum(PACKS))


@pytest.mark.parametrize("byte", [10, 12, 16, 20])
def test_damaged_pages_raise(path, byte):
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 + byte] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^shard '.*shard-00000\.lmdb' .*$"):
        check_shard(path, len(RECORDS), checksum(PACKS))


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
