from dataclasses import dataclass

import pytest
from mml_data.importers.labels import LabelPlan
from mml_data.importers.write_part import PartWriter, Stopped
from mml_data.store.records import decode_record
from mml_data.store.shards import open_shard


@dataclass(frozen=True)
class Hydrogen:
    """Part of hydrogen atoms whose energy is their number. Some structures are invalid."""

    count: int
    bad: tuple[int, ...] = ()

    def read(self, start=0):
        for number in range(start, self.count):
            positions = [] if number in self.bad else [[0.0, 0.0, 0.0]]
            structure = {"atomic_numbers": [1], "positions": positions, "targets": {"energy": float(number)}}
            yield f"part:{number}", structure


PLAN = LabelPlan()


def energies(writer):
    records = open_shard(writer.shard).records()
    return [decode_record(record)["targets"]["energy"] for record in records]


def ignore(count):
    pass


def never():
    return False


def test_part_becomes_shard(tmp_path):
    writer = PartWriter(Hydrogen(5), tmp_path / "shard-00002.lmdb", PLAN)
    done = []
    assert writer(done.append, never) == 5
    assert energies(writer) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert done == [5]
    assert writer.log.path == tmp_path / "log-00002.jsonl"
    assert [line["kind"] for line in writer.log.lines()] == ["names"]


def test_invalid_structure_raises(tmp_path):
    writer = PartWriter(Hydrogen(5, bad=(3,)), tmp_path / "shard-00000.lmdb", PLAN)
    with pytest.raises(ValueError, match=r"^part:3: pos of the sample has shape"):
        writer(ignore, never)


def test_resume_lists_errors_once(tmp_path):
    """Records are committed in batches of 1,024. Errors before and after the last commit are listed once."""
    bad = (0, 5, 1026, 1030, 2500)
    writer = PartWriter(Hydrogen(2600, bad), tmp_path / "shard-00000.lmdb", PLAN, on_error="skip")
    count = 0

    def interrupt(done):
        nonlocal count
        count += done
        if count >= 1500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer(interrupt, never)
    with writer.log.path.open("a") as file:
        file.write('{"position": 15')  # a killed process may leave an incomplete line
    done = []
    assert writer(done.append, never) == 2595
    assert done[0] == 1024
    assert energies(writer) == [number for number in range(2600) if number not in bad]
    listed = [line["position"] for line in writer.log.lines() if line["kind"] == "skipped"]
    assert listed == list(bad)


def test_stopped_writer_keeps_structures(tmp_path):
    writer = PartWriter(Hydrogen(500), tmp_path / "shard-00000.lmdb", PLAN)
    done = []
    with pytest.raises(Stopped):
        writer(done.append, lambda: len(done) == 3)
    assert energies(writer) == list(range(sum(done)))
    assert 3 <= sum(done) < 500
    assert writer(done.append, never) == 500


def test_samples_are_stored_unchanged(tmp_path, samples):
    @dataclass(frozen=True)
    class Samples:
        def read(self, start=0):
            yield from ((str(number), sample) for number, sample in enumerate(samples[start:], start))

    writer = PartWriter(Samples(), tmp_path / "shard-00000.lmdb", None)
    assert writer(ignore, never) == len(samples)
    assert energies(writer) == [sample["targets"]["energy"] for sample in samples]
