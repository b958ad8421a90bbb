import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mml_data import LMDBDataset, LMDBWriter
from mml_data.store.shards import open_shard
from torch.utils.data import DataLoader


def shift(sample):
    return {**sample, "pos": sample["pos"] + 1}


def test_samples_equal_written_ones(stored, samples):
    dataset = LMDBDataset(stored)
    assert len(dataset) == 20
    for index in range(20):
        got, given = dataset[index], samples[index]
        assert got["sample_id"] == f"toy/{index:06d}"
        assert got["atomic_numbers"].dtype == torch.int64
        np.testing.assert_array_equal(got["atomic_numbers"], given["atomic_numbers"])
        assert got["pos"].dtype == got["cell"].dtype == torch.float64
        np.testing.assert_array_equal(got["pos"], given["pos"])
        assert got["cell"].shape == (1, 3, 3)
        assert got["pbc"].dtype == torch.bool
        targets = got["targets"]
        assert targets["energy"].dtype == targets["force"].dtype == torch.float64
        assert targets["energy"].shape == targets["system"].shape == ()
        assert targets["system"].dtype == torch.int64
        np.testing.assert_array_equal(targets["force"], given["targets"]["force"])
        assert float(targets["energy"]) == given["targets"]["energy"]
        assert got["target_types"] == given["target_types"]
        assert set(got) == {*given, "sample_id"}


@given(
    pos=hnp.arrays(st.sampled_from(["float32", "float64"]), st.tuples(st.integers(1, 4), st.just(3)),
                   elements={"allow_nan": False, "allow_infinity": False}),
    charge=st.none() | st.integers(-9, 9) | st.floats() | st.text() | st.booleans(),
    feature=hnp.arrays(st.sampled_from(["f2", "f8", "i1", "u2", "bool"]), hnp.array_shapes(min_side=0)),
)  # fmt: skip
def test_storage_keeps_any_sample(tmp_path_factory, pos, charge, feature):
    path = tmp_path_factory.mktemp("any") / "any"
    sample = {
        "atomic_numbers": np.ones(len(pos), "i2"),
        "pos": pos,
        "extra": {"charge": charge, "feature": [feature]},
    }
    with LMDBWriter(path) as writer:
        writer.add(sample)
    got = LMDBDataset(path)[0]
    assert got["pos"].dtype == getattr(torch, pos.dtype.name)
    np.testing.assert_array_equal(got["pos"].numpy(), pos)
    assert got["extra"]["charge"] == charge or charge != charge
    assert type(got["extra"]["charge"]) is type(charge)
    tensor = got["extra"]["feature"][0]
    assert (
        tensor.dtype
        == {"f": torch.float32, "i": torch.int64, "u": torch.int64, "b": torch.bool}[feature.dtype.kind]
    )
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(
            tensor.numpy(), feature.astype(str(tensor.dtype).removeprefix("torch."))
        )


def test_floats_follow_default_dtype(stored):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        targets = LMDBDataset(stored)[0]["targets"]
    finally:
        torch.set_default_dtype(before)
    assert targets["energy"].dtype == targets["force"].dtype == torch.float64


def test_changing_sample_keeps_data_set(stored):
    dataset = LMDBDataset(stored)
    dataset[0]["pos"].zero_()
    dataset[0]["targets"]["force"].zero_()
    assert dataset[0]["pos"].abs().min() > 0


def test_splits_and_indices_select_samples(stored, samples, splits):
    for name, indices in splits.items():
        dataset = LMDBDataset(stored, split=name)
        assert len(dataset) == len(indices)
        assert dataset.indices.tolist() == indices
        assert [dataset[i]["sample_id"] for i in range(len(dataset))] == [
            f"toy/{index:06d}" for index in indices
        ]
    chosen = LMDBDataset(stored, indices=[19, 0])
    assert [chosen[0]["sample_id"], chosen[-1]["sample_id"]] == ["toy/000019", "toy/000000"]
    assert LMDBDataset(stored).splits == {"train": 12, "val": 3, "test": 2}
    with pytest.raises(IndexError):
        chosen[2]
    with pytest.raises(ValueError, match=r"toy' has no split 'dev'; its splits are: 'train', 'val', 'test'"):
        LMDBDataset(stored, split="dev")
    with pytest.raises(ValueError, match=r"mutually exclusive, got split='val' and indices"):
        LMDBDataset(stored, split="val", indices=[0])
    with pytest.raises(ValueError, match=r"indices must be from 0 to 19 .*, got 0 to 20"):
        LMDBDataset(stored, indices=[0, 20])
    with pytest.raises(ValueError, match="must be a list of integers"):
        LMDBDataset(stored, indices=[0.5])


def test_pickling_keeps_data_set(stored):
    for dataset in (LMDBDataset(stored, split="val"), LMDBDataset(stored, [shift], indices=[4, 6])):
        before = dataset[1]
        again = pickle.loads(pickle.dumps(dataset))
        torch.testing.assert_close(again[1]["pos"], before["pos"])
        assert again[1]["sample_id"] == before["sample_id"] == "toy/000006"
        assert len(again) == len(dataset)
    assert len(pickle.dumps(LMDBDataset(stored, split="train"))) - len(pickle.dumps(LMDBDataset(stored))) < 50


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_forked_children_read_beside_parent(stored):
    dataset = LMDBDataset(stored)
    expected = [dataset[index]["sample_id"] for index in range(20)]
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            ok = [dataset[index]["sample_id"] for index in range(20)] == expected
            os._exit(0 if ok and LMDBDataset(stored)[3]["sample_id"] == expected[3] else 1)
        children.append(child)
    assert [dataset[index]["sample_id"] for index in range(20)] == expected
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers_read_open_dataset(stored, method):
    """Other projects bound lmdb below 3 because forked workers crashed."""
    dataset = LMDBDataset(stored)
    expected = [dataset[index]["sample_id"] for index in range(20)]
    records = open_shard(stored / "shard-00000.lmdb").records()
    next(records)  # a transaction is open while workers start
    loader = DataLoader(
        dataset, 3, num_workers=2, collate_fn=list, multiprocessing_context=method, persistent_workers=True
    )
    for _ in range(3):
        read = []
        for batch in loader:
            read += [sample["sample_id"] for sample in batch]
            assert dataset[len(read) - 1]["sample_id"] == read[-1]
        assert read == expected
    assert len(list(records)) == 7


def test_unpickling_imports_few_libraries(stored):
    dataset = LMDBDataset(stored, split="val")
    dataset[0]
    code = (
        "import pickle, sys\n"
        "dataset = pickle.load(sys.stdin.buffer)\n"
        "print([dataset[index]['sample_id'] for index in range(3)])\n"
        "heavy = {'pytorch_lightning', 'torch_geometric', 'ase', 'pymatgen.core', 'matplotlib', 'dgl'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(dataset), capture_output=True, check=True
    )
    assert done.stdout.decode().splitlines() == ["['toy/000004', 'toy/000006', 'toy/000008']", "[]"]


def test_readers_share_one_path(stored):
    train, val = LMDBDataset(stored, split="train"), LMDBDataset(stored, split="val")
    assert (train[0]["sample_id"], val[0]["sample_id"]) == ("toy/000001", "toy/000004")
    del train
    assert val[1]["sample_id"] == "toy/000006"


def test_data_set_keeps_stored_ids(tmp_path, samples):
    with LMDBWriter(tmp_path / "x") as writer:
        writer.add({**samples[0], "sample_id": "mp-149"})
    assert LMDBDataset(tmp_path / "x")[0]["sample_id"] == "mp-149"


@pytest.fixture
def copy(stored, tmp_path):
    shutil.copytree(stored, tmp_path / "toy")
    return tmp_path / "toy"


def test_verify_finds_changes(copy, samples):
    LMDBDataset(copy).verify()
    shard = copy / "shard-00001.lmdb"
    content = shard.read_bytes()
    number = samples[9]["pos"].tobytes()
    assert number in content
    shard.write_bytes(content.replace(number, bytes([number[0] ^ 1]) + number[1:]))
    with pytest.raises(ValueError, match=r"shard-00001\.lmdb' does not match its checksum"):
        LMDBDataset(copy).verify()
    shard.write_bytes(content)
    np.save(copy / "split-val.npy", np.array([4, 6, 9]))
    with pytest.raises(ValueError, match=r"split-val\.npy' does not match its checksum"):
        LMDBDataset(copy).verify()
    (copy / "shard-00002.lmdb").unlink()
    with pytest.raises(FileNotFoundError, match=r"shard-00002\.lmdb' is missing"):
        LMDBDataset(copy).verify()
    with pytest.raises(FileNotFoundError, match=r"shard-00002\.lmdb' is missing"):
        LMDBDataset(copy)[19]


def test_damaged_record_raises(copy, samples):
    shard = copy / "shard-00001.lmdb"
    content = bytearray(shard.read_bytes())
    body = bytes(open_shard(shard).get(3).body)
    start = content.index(body)
    content[start : start + 4] = b"\xff" * 4  # the length of a section of the record
    shard.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"^sample 11, record 3 of '.*shard-00001\.lmdb': the record is invalid"
    ):
        LMDBDataset(copy)[11]
    assert LMDBDataset(copy)[7]["sample_id"] == "toy/000007"


def test_transforms_apply_in_order(stored):
    plain = LMDBDataset(stored)[0]["pos"]
    dataset = LMDBDataset(stored, transforms=[shift, lambda sample: {**sample, "pos": sample["pos"] * 2}])
    torch.testing.assert_close(dataset[0]["pos"], (plain + 1) * 2)


def test_missing_path_names_import_command(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"data set '.*nowhere' does not exist; create it with `matsciml data import SO",
    ):
        LMDBDataset(tmp_path / "nowhere")


def test_repr_names_path_and_split(stored):
    assert repr(LMDBDataset(stored, split="val")) == f"LMDBDataset({str(stored)!r}, split='val')"
