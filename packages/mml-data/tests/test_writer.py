import filecmp
import hashlib
import json
import os
import signal
import time

import lmdb
import numpy as np
import pytest
import torch
from mml_data import LMDBDataset, LMDBWriter, Manifest
from mml_data.records import encode_record
from mml_data.shards import update_checksum

COPPER = {"atomic_numbers": np.array([29]), "pos": np.zeros((1, 3)), "targets": {"energy": -3.7}}


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def write(path, samples, splits=None, **options):
    with LMDBWriter(path, **options) as writer:
        for sample in samples:
            writer.add(sample)
        writer.set_splits(splits or {})


def test_the_same_samples_give_the_same_files(tmp_path, samples, splits):
    options = {"name": "toy", "source": {"command": "x"}, "shard_size": 7, "batch_size": 3}
    write(tmp_path / "a", samples, splits, **options)
    time.sleep(0.01)
    write(tmp_path / "b", samples, splits, **options)
    files = names(tmp_path / "a")
    assert files == names(tmp_path / "b")
    assert files == ["manifest.json"] + [f"shard-0000{n}.lmdb" for n in range(3)] + [
        f"split-{name}.npy" for name in ("test", "train", "val")
    ]
    for file in files:
        assert filecmp.cmp(tmp_path / "a" / file, tmp_path / "b" / file, shallow=False), file
    assert names(tmp_path) == ["a", "b"]


def test_the_manifest_says_what_there_is(stored, samples, splits):
    manifest = Manifest.read(stored)
    assert (manifest.name, manifest.num_samples) == ("toy", 20)
    assert [(shard.file, shard.count) for shard in manifest.shards] == [
        ("shard-00000.lmdb", 8),
        ("shard-00001.lmdb", 8),
        ("shard-00002.lmdb", 4),
    ]
    expected = hashlib.sha256()
    for sample in samples[16:]:
        update_checksum(expected, encode_record(sample))
    assert manifest.shards[2].sha256 == expected.hexdigest()
    assert {name: entry.count for name, entry in manifest.splits.items()} == {
        "train": 12,
        "val": 3,
        "test": 2,
    }
    indices = np.load(stored / "split-train.npy", allow_pickle=False)
    assert indices.dtype == np.int64
    assert indices.tolist() == splits["train"]
    assert manifest.source == {"origin": "made up", "license": "MIT"}
    assert manifest.schema["targets.force"] == {
        "dtype": "float32",
        "shape": ["N", 3],
        "units": "eV/angstrom",
        "samples": 20,
    }
    energies = [sample["targets"]["energy"] for sample in samples]
    for name, indices in {"all": range(20), **splits}.items():
        energy = manifest.statistics[name]["targets"]["energy"]
        assert energy["mean"] == pytest.approx(np.mean([energies[index] for index in indices]))
        assert manifest.statistics[name]["count"] == energy["count"] == len(indices)


def test_the_map_grows_with_what_is_written(tmp_path):
    big = [{**COPPER, "noise": np.random.default_rng(seed).bytes(700_000)} for seed in range(12)]
    write(tmp_path / "big", big, batch_size=5)
    dataset = LMDBDataset(tmp_path / "big")
    assert [dataset[index]["noise"] == sample["noise"] for index, sample in enumerate(big)] == [True] * 12
    dataset.verify()


def test_an_exception_leaves_nothing_and_keeps_what_was_there(tmp_path, samples):
    write(tmp_path / "kept", samples[:3])
    for path, overwrite in ((tmp_path / "new", False), (tmp_path / "kept", True)):
        with pytest.raises(ValueError, match="sample 1 cannot be stored"):
            write(path, [samples[5], {}], overwrite=overwrite, batch_size=1)
    assert names(tmp_path) == ["kept"]
    assert len(LMDBDataset(tmp_path / "kept")) == 3


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_killed_writer_leaves_no_data_set_and_is_no_hindrance(tmp_path, samples):
    path = tmp_path / "toy"
    write(path, samples[:3])
    for overwrite, pause in ((True, 0.0), (True, 0.02), (True, 0.1)):
        ready, done = os.pipe()
        child = os.fork()
        if child == 0:
            with LMDBWriter(path, overwrite=overwrite, batch_size=1) as writer:
                for number in range(10**9):
                    writer.add(samples[number % 20])
                    if number == 3:
                        os.write(done, b"x")
        os.read(ready, 1)
        time.sleep(pause)
        with pytest.raises(BlockingIOError, match=r"another process is writing to '.*toy'"):
            write(path, samples, overwrite=True)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(done)
        leftover = tmp_path / ".toy.partial"
        assert (leftover / "shard-00000.lmdb").exists()
        with pytest.raises(ValueError, match=r"is not a data set: it has no manifest\.json"):
            LMDBDataset(leftover)
        assert len(LMDBDataset(path)) == 3
        LMDBDataset(path).verify()
    write(path, samples[:5], overwrite=True)
    assert names(tmp_path) == ["toy"]
    assert len(LMDBDataset(path)) == 5


def test_a_data_set_is_replaced_only_if_asked(tmp_path, samples):
    write(tmp_path / "toy", samples[:3])
    with pytest.raises(FileExistsError, match=r"toy' is a data set already: .* or say overwrite=True"):
        LMDBWriter(tmp_path / "toy")
    old = LMDBDataset(tmp_path / "toy")
    old[0]
    write(tmp_path / "toy", samples[3:5], overwrite=True)
    assert len(LMDBDataset(tmp_path / "toy")) == 2
    torch.testing.assert_close(LMDBDataset(tmp_path / "toy")[0]["pos"], torch.from_numpy(samples[3]["pos"]))
    torch.testing.assert_close(old[0]["pos"], torch.from_numpy(samples[0]["pos"]))


def test_what_cannot_be_stored_names_the_sample(tmp_path, samples):
    with LMDBWriter(tmp_path / "toy") as writer:
        writer.add(samples[0])
        bad = {**samples[1], "pos": np.full_like(samples[1]["pos"], np.nan)}
        with pytest.raises(
            ValueError, match=r"^sample 1 cannot be stored in '.*toy': pos is not finite at index \[0, 0\]"
        ):
            writer.add(bad)
        with pytest.raises(ValueError, match=r"^sample 1 \(mp-7\) cannot be stored"):
            writer.add({**bad, "sample_id": "mp-7"})
        with pytest.raises(TypeError, match=r"^sample 1 cannot be stored .*: note is a builtins\.set"):
            writer.add({**samples[1], "note": {1}})
        writer.add(samples[2])
    assert len(writer) == len(LMDBDataset(tmp_path / "toy")) == 2


def test_no_samples_are_no_data_set(tmp_path):
    with pytest.raises(ValueError, match="no sample was added: there is nothing to write to"):
        write(tmp_path / "empty", [])
    assert names(tmp_path) == []


def test_splits_beyond_the_last_sample_are_found_at_the_end(tmp_path):
    with pytest.raises(ValueError, match="split 'val' has the index 1, but there are 1 samples"):
        write(tmp_path / "toy", [COPPER], {"train": [0], "val": [1]})
    assert names(tmp_path) == []


class FullDisk:
    def begin(self, **options):
        raise lmdb.DiskError("No space left on device")

    def close(self):
        pass


def test_a_full_disk_is_an_os_error(tmp_path):
    with LMDBWriter(tmp_path / "toy", batch_size=2) as writer:
        writer.add(COPPER)
        disk, writer._shard._environment = writer._shard._environment, FullDisk()
        with pytest.raises(OSError, match=r"cannot write to '.*shard-00000\.lmdb': No space left"):
            writer.add(COPPER)
        writer._shard._environment = disk
    assert len(LMDBDataset(tmp_path / "toy")) == 2


def test_misuse(tmp_path):
    writer = LMDBWriter(tmp_path / "toy")
    with pytest.raises(RuntimeError, match="inside the `with` block"):
        writer.add(COPPER)
    with writer:
        writer.add(COPPER)
    with pytest.raises(RuntimeError, match="writes once"), writer:
        pass
    with pytest.raises(ValueError, match="batch_size must be at least 1, it is 0"):
        LMDBWriter(tmp_path / "other", batch_size=0)
    with pytest.raises(TypeError, match="JSON"):
        LMDBWriter(tmp_path / "other", source={"origin": object()})


def test_units_and_names_go_into_the_manifest(tmp_path):
    sample = {**COPPER, "targets": {"band_gap": 0.5}}
    write(tmp_path / "x", [sample], name="gaps", units={"targets.band_gap": "eV"})
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    assert manifest["name"] == "gaps"
    assert manifest["schema"]["targets.band_gap"]["units"] == "eV"
    assert LMDBDataset(tmp_path / "x")[0]["sample_id"] == "gaps/000000"
