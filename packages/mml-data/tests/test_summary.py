import hashlib

import numpy as np
import pytest
from mml_data.store.packs import Record, pack_records
from mml_data.store.records import encode_record
from mml_data.store.shard_writer import ShardWriter
from mml_data.store.shards import update_checksum
from mml_data.store.splits import write_split
from mml_data.store.statistics import DatasetStatistics
from mml_data.store.summary import edge_count, summarize_shard


@pytest.fixture
def shard(tmp_path, samples):
    """Shard of the samples from the sixth on, like the second shard of a data set."""
    writer = ShardWriter(tmp_path / "shard-00001.lmdb")
    for sample in samples[5:]:
        writer.add(encode_record(sample))
    writer.close()
    return writer.path


def statistics(samples):
    collected = DatasetStatistics()
    for sample in samples:
        collected.add(sample)
    return collected.result()


def test_summary_counts_shard(shard, samples):
    splits = {
        "train": write_split(shard.parent, "train", np.array([0, 19, 4, 7, 5])),
        "val": write_split(shard.parent, "val", np.array([1, 6])),
    }
    summary = summarize_shard(shard, splits=splits, start=5, units={"targets.energy": "meV"})
    checksum = hashlib.sha256()
    update_checksum(checksum, pack_records([encode_record(sample) for sample in samples[5:]]))
    assert (summary.entry.count, summary.entry.sha256) == (15, checksum.hexdigest())
    assert summary.num_atoms.tolist() == [len(sample["pos"]) for sample in samples[5:]]
    assert summary.num_edges is None
    assert summary.schema.result()["targets.energy"] == {
        "dtype": "float", "shape": None, "units": "meV", "samples": 15, "kind": "scalar", "extensive": True,
    }  # fmt: skip
    members = {"all": range(5, 20), "train": (5, 7, 19), "val": (6,)}
    assert list(summary.statistics) == list(members)
    for name, indices in members.items():
        wanted = statistics([samples[index] for index in indices])
        found = summary.statistics[name].result()
        assert (found["count"], found["elements"]) == (wanted["count"], wanted["elements"])
        assert found["targets"]["force"]["rms"] == pytest.approx(wanted["targets"]["force"]["rms"])


def test_damaged_record_raises(tmp_path, samples):
    writer = ShardWriter(tmp_path / "shard-00000.lmdb")
    writer.add(encode_record(samples[0]))
    writer.add(Record(b"", b"not a record"))
    writer.close()
    with pytest.raises(ValueError, match=r"record 1 of '.*shard-00000\.lmdb' is damaged"):
        summarize_shard(writer.path)


def test_edge_count_needs_edges():
    assert edge_count({"src_nodes": np.zeros(7)}) == 7
    assert edge_count({"distances": np.zeros((3,))}) == 3
    assert edge_count({"pos": np.zeros((3, 3))}) is None
