import filecmp
import hashlib
import inspect
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_data import LMDBDataset, LMDBWriter, Manifest
from mml_data.store.packs import pack_records
from mml_data.store.records import encode_record
from mml_data.store.shards import update_checksum

COPPER = {"atomic_numbers": np.array([29]), "pos": np.zeros((1, 3)), "targets": {"energy": -3.7}}


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def write(path, samples, splits=None, **options):
    with LMDBWriter(path, **options) as writer:
        for sample in samples:
            writer.add(sample)
        writer.set_splits(splits or {})


def test_equal_samples_give_equal_files(tmp_path, samples, splits):
    options = {"name": "toy", "source": {"command": "x"}, "shard_size": 7, "batch_size": 3}
    write(tmp_path / "a", samples, splits, **options)
    time.sleep(0.01)
    write(tmp_path / "b", samples, splits, **options)
    files = names(tmp_path / "a")
    assert files == names(tmp_path / "b")
    assert files == ["manifest.json", "natoms.npy"] + [f"shard-0000{n}.lmdb" for n in range(3)] + [
        f"split-{name}.npy" for name in ("test", "train", "val")
    ]
    for file in files:
        assert filecmp.cmp(tmp_path / "a" / file, tmp_path / "b" / file, shallow=False), file
    assert names(tmp_path) == ["a", "b"]


def test_manifest_describes_data_set(stored, samples, splits):
    manifest = Manifest.read(stored)
    assert (manifest.name, manifest.num_samples) == ("toy", 20)
    assert [(shard.file, shard.count) for shard in manifest.shards] == [
        ("shard-00000.lmdb", 8),
        ("shard-00001.lmdb", 8),
        ("shard-00002.lmdb", 4),
    ]
    expected = hashlib.sha256()
    update_checksum(expected, pack_records([encode_record(sample) for sample in samples[16:]]))
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
        "kind": "per_atom",
    }
    energies = [sample["targets"]["energy"] for sample in samples]
    for name, indices in {"all": range(20), **splits}.items():
        energy = manifest.statistics[name]["targets"]["energy"]
        assert energy["mean"] == pytest.approx(np.mean([energies[index] for index in indices]))
        assert manifest.statistics[name]["count"] == energy["count"] == len(indices)


def test_map_grows(tmp_path):
    big = [{**COPPER, "noise": np.random.default_rng(seed).bytes(700_000)} for seed in range(12)]
    write(tmp_path / "big", big, batch_size=5)
    dataset = LMDBDataset(tmp_path / "big")
    assert [dataset[index]["noise"] == sample["noise"] for index, sample in enumerate(big)] == [True] * 12
    dataset.verify()


def test_exception_keeps_previous_data_set(tmp_path, samples):
    write(tmp_path / "kept", samples[:3])
    for path, overwrite in ((tmp_path / "new", False), (tmp_path / "kept", True)):
        with pytest.raises(ValueError, match="sample 1 cannot be stored"):
            write(path, [samples[5], {}], overwrite=overwrite, batch_size=1)
    assert names(tmp_path) == ["kept"]
    assert len(LMDBDataset(tmp_path / "kept")) == 3


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_killed_writer_leaves_no_data_set(tmp_path, samples):
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
        with pytest.raises(ValueError, match=r"is not a data set, because it has no manifest\.json"):
            LMDBDataset(leftover)
        assert len(LMDBDataset(path)) == 3
        LMDBDataset(path).verify()
    write(path, samples[:5], overwrite=True)
    assert names(tmp_path) == ["toy"]
    assert len(LMDBDataset(path)) == 5


def test_overwrite_replaces_data_set(tmp_path, samples):
    write(tmp_path / "toy", samples[:3])
    with pytest.raises(FileExistsError, match=r"toy' is already a data set; .* pass overwrite=True"):
        LMDBWriter(tmp_path / "toy")
    old = LMDBDataset(tmp_path / "toy")
    old[0]
    write(tmp_path / "toy", samples[3:5], overwrite=True)
    assert len(LMDBDataset(tmp_path / "toy")) == 2
    torch.testing.assert_close(LMDBDataset(tmp_path / "toy")[0]["pos"], torch.from_numpy(samples[3]["pos"]))
    torch.testing.assert_close(old[0]["pos"], torch.from_numpy(samples[0]["pos"]))


def test_unstorable_sample_raises(tmp_path, samples):
    with LMDBWriter(tmp_path / "toy") as writer:
        writer.add(samples[0])
        bad = {**samples[1], "pos": np.full_like(samples[1]["pos"], np.nan)}
        with pytest.raises(
            ValueError, match=r"^sample 1 cannot be stored in '.*toy': pos of the sample must be finite"
        ):
            writer.add(bad)
        with pytest.raises(ValueError, match=r"^sample 1 \(mp-7\) cannot be stored"):
            writer.add({**bad, "sample_id": "mp-7"})
        with pytest.raises(TypeError, match=r"^sample 1 cannot be stored .*: note is a builtins\.set"):
            writer.add({**samples[1], "note": {1}})
        writer.add(samples[2])
    assert len(writer) == len(LMDBDataset(tmp_path / "toy")) == 2


def test_writer_without_samples_raises(tmp_path):
    with pytest.raises(ValueError, match=r"the data set has no samples; .*empty' is not written"):
        write(tmp_path / "empty", [])
    assert names(tmp_path) == []


def test_split_beyond_last_sample_raises(tmp_path):
    with pytest.raises(ValueError, match="split 'val' has the index 1, but the data set has 1 samples"):
        write(tmp_path / "toy", [COPPER], {"train": [0], "val": [1]})
    assert names(tmp_path) == []


KILLED = """
import sys, time
import numpy as np
from mml_data import LMDBWriter
from test_writer_samples import numbered
path, count, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with LMDBWriter(path, resume=True, shard_size=40, batch_size=batch_size) as writer:
    print(len(writer), flush=True)
    for index in range(len(writer), count):
        writer.add(numbered(index))
"""


def numbered(index):
    """Return a unique sample of about 5 kB."""
    rng = np.random.default_rng(index)
    num_atoms = int(rng.integers(1, 100))
    return {
        "atomic_numbers": rng.integers(1, 90, num_atoms),
        "pos": rng.normal(size=(num_atoms, 3)),
        "targets": {"energy": float(index)},
        "noise": rng.bytes(3000),
    }


@pytest.mark.slow
@settings(max_examples=6)
@given(st.lists(st.floats(0, 0.25), min_size=1, max_size=4), st.sampled_from([1, 7, 64]))
def test_resume_continues_killed_writer(tmp_path_factory, pauses, batch_size):
    path = tmp_path_factory.mktemp("killed") / "toy"
    module = path.parent / "test_writer_samples.py"
    module.write_text(
        "import numpy as np\n" + inspect.getsource(numbered) + "\n"  # the child needs nothing but this
    )
    before = 0
    for pause in pauses:
        child = subprocess.Popen(
            [sys.executable, "-B", "-c", KILLED, str(path), "100000", str(batch_size)],
            cwd=path.parent,
            env={**os.environ, "PYTHONPATH": str(path.parent)},
            stdout=subprocess.PIPE,
        )
        found = int(child.stdout.readline())
        assert found >= before
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        before = found
        assert not path.exists()
    with LMDBWriter(path, resume=True, shard_size=40) as writer:
        kept = len(writer)
        assert kept >= before
        for index in range(kept, kept + 5):
            writer.add(numbered(index))
    dataset = LMDBDataset(path)
    dataset.verify()
    assert names(path.parent) == ["test_writer_samples.py", "toy"]
    assert len(dataset) == kept + 5
    assert [shard.count for shard in dataset.manifest.shards[:-1]] == [40] * (
        len(dataset) // 40 - (len(dataset) % 40 == 0)
    )
    for index in {0, kept // 2, max(kept - 1, 0), kept, kept + 4}:
        wanted, sample = numbered(index), dataset[index]
        assert sample["noise"] == wanted["noise"]
        assert sample["targets"]["energy"] == index
        np.testing.assert_array_equal(sample["pos"], wanted["pos"])
    assert dataset.manifest.statistics["all"]["targets"]["energy"]["mean"] == pytest.approx((kept + 4) / 2)
    shutil.rmtree(path.parent)


def interrupted(samples):
    yield from samples
    raise KeyboardInterrupt


def test_resume_keeps_added_samples(tmp_path, samples):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "toy", interrupted(samples[:7]), resume=True, shard_size=4)
    assert not (tmp_path / "toy").exists()
    with pytest.raises(
        ValueError, match=r"left shards of \[4, 3\] samples, .* shard_size=2; resume with the same"
    ):
        write(tmp_path / "toy", samples, resume=True, shard_size=2)
    with LMDBWriter(tmp_path / "toy", resume=True, shard_size=4) as writer:
        assert len(writer) == 7
        for sample in samples[7:]:
            writer.add(sample)
    write(tmp_path / "whole", samples, name="toy", shard_size=4)
    assert Manifest.read(tmp_path / "toy") == Manifest.read(tmp_path / "whole")
    LMDBDataset(tmp_path / "toy").verify()
    assert names(tmp_path) == ["toy", "whole"]


def test_resume_continues_empty_shard(tmp_path, samples):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "toy", interrupted(samples[:4]), resume=True, shard_size=4)
    (tmp_path / ".toy.partial" / "shard-00001.lmdb").touch()
    with LMDBWriter(tmp_path / "toy", resume=True, shard_size=4) as writer:
        assert len(writer) == 4
        for sample in samples[4:6]:
            writer.add(sample)
    assert [shard.count for shard in LMDBDataset(tmp_path / "toy").manifest.shards] == [4, 2]


def test_writer_without_resume_starts_anew(tmp_path, samples):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "toy", interrupted(samples[:1]), resume=True)
    write(tmp_path / "toy", samples[5:7])
    assert len(LMDBDataset(tmp_path / "toy")) == 2


FULL_DISK = """
import resource, signal, sys
from mml_data import LMDBWriter
from test_writer_samples import numbered
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
with LMDBWriter(sys.argv[1], resume=True, batch_size=10) as writer:
    for index in range(10_000):
        writer.add(numbered(index))
"""


def test_full_disk_keeps_committed_records(tmp_path):
    """A limit on file sizes has the same effect as a full disk."""
    (tmp_path / "test_writer_samples.py").write_text("import numpy as np\n" + inspect.getsource(numbered))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "toy")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert re.search(r"OSError: cannot write to '.*shard-00000\.lmdb': .*; \d+ records were written", message)
    with LMDBWriter(tmp_path / "toy", resume=True) as writer:
        kept = len(writer)
        assert kept >= 50
        assert kept % 10 == 0
    LMDBDataset(tmp_path / "toy").verify()
    assert LMDBDataset(tmp_path / "toy")[kept - 1]["noise"] == numbered(kept - 1)["noise"]


def test_read_only_directory_raises(tmp_path):
    where = tmp_path / "closed" / "toy"
    where.parent.mkdir(mode=0o500)
    if os.geteuid() == 0:
        where = Path("/proc/self/toy")  # root may write nearly everywhere, but not there
    with pytest.raises(OSError, match=r"cannot write beside '.*toy'; choose another destination"):
        write(where, [COPPER])


def test_compression_keeps_samples(tmp_path, samples):
    write(tmp_path / "plain", samples, name="toy")
    write(tmp_path / "small", samples, name="toy", compression="zstd")
    plain, small = LMDBDataset(tmp_path / "plain"), LMDBDataset(tmp_path / "small")
    assert small.manifest.compression == "zstd"
    assert small.manifest.schema == plain.manifest.schema
    assert small.manifest.statistics == plain.manifest.statistics
    for left, right in zip(plain, pickle.loads(pickle.dumps(small)), strict=True):
        assert left["sample_id"] == right["sample_id"]
        torch.testing.assert_close(left["targets"], right["targets"], rtol=0, atol=0)
    small.verify()
    with pytest.raises(ValueError, match="compression must be None or 'zstd', got 'gzip'"):
        LMDBWriter(tmp_path / "other", compression="gzip")


def test_manifest_records_sizes(tmp_path, samples, splits):
    write(tmp_path / "toy", samples, splits, shard_size=8)
    num_atoms = [len(sample["pos"]) for sample in samples]
    assert LMDBDataset(tmp_path / "toy").sizes().tolist() == num_atoms
    val = LMDBDataset(tmp_path / "toy", split="val")
    assert val.sizes("natoms").tolist() == [num_atoms[index] for index in splits["val"]]
    with pytest.raises(ValueError, match="does not record 'nedges' of its samples, only: 'natoms'"):
        val.sizes("nedges")
    edges = [{**sample, "src_nodes": np.zeros(index, int)} for index, sample in enumerate(samples)]
    write(tmp_path / "edges", edges)
    assert LMDBDataset(tmp_path / "edges").sizes("nedges").tolist() == list(range(20))
    numbers = np.load(tmp_path / "edges" / "natoms.npy")
    np.save(tmp_path / "edges" / "natoms.npy", numbers + 1)
    with pytest.raises(ValueError, match=r"natoms\.npy' does not match its checksum"):
        LMDBDataset(tmp_path / "edges").verify()


def test_misuse_raises(tmp_path):
    writer = LMDBWriter(tmp_path / "toy")
    with pytest.raises(RuntimeError, match="inside the `with` block"):
        writer.add(COPPER)
    with writer:
        writer.add(COPPER)
    with pytest.raises(RuntimeError, match="used only once"), writer:
        pass
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        LMDBWriter(tmp_path / "other", batch_size=0)
    with pytest.raises(TypeError, match="JSON"):
        LMDBWriter(tmp_path / "other", source={"origin": object()})


def test_manifest_contains_units_and_name(tmp_path):
    sample = {**COPPER, "targets": {"band_gap": 0.5}}
    write(tmp_path / "x", [sample], name="gaps", units={"targets.band_gap": "eV"})
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    assert manifest["name"] == "gaps"
    assert manifest["schema"]["targets.band_gap"]["units"] == "eV"
    assert LMDBDataset(tmp_path / "x")[0]["sample_id"] == "gaps/000000"
