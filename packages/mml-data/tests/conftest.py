import json
import pickle

import lmdb
import numpy as np
import pytest
from mml_data import LMDBWriter


def _make_samples(count, seed=0):
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        num_atoms = int(rng.integers(1, 7))
        samples.append(
            {
                "atomic_numbers": rng.integers(1, 30, num_atoms).astype(np.uint8),
                "pos": rng.normal(size=(num_atoms, 3)),
                "cell": np.eye(3)[None] * 9.0,
                "pbc": np.ones(3, dtype=bool),
                "targets": {
                    "energy": float(rng.normal()),
                    "force": rng.normal(size=(num_atoms, 3)).astype(np.float32),
                    "system": index % 3,
                },
                "target_types": {"regression": ["energy", "force"], "classification": ["system"]},
            }
        )
    return samples


@pytest.fixture(scope="session")
def make_samples():
    """Function that makes samples. The same seed gives the same samples."""
    return _make_samples


@pytest.fixture(scope="session")
def samples():
    return _make_samples(20)


@pytest.fixture(scope="session")
def splits():
    return {"train": [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 0, 2], "val": [4, 6, 8], "test": [10, 12]}


@pytest.fixture(scope="session")
def stored(tmp_path_factory, samples, splits):
    """Data set of 20 samples in three shards, with splits. Tests must not change it."""
    path = tmp_path_factory.mktemp("stored") / "toy"
    with LMDBWriter(path, source={"origin": "made up", "license": "MIT"}, shard_size=8) as writer:
        for sample in samples:
            writer.add(sample)
        writer.set_splits(splits)
    return path


@pytest.fixture(scope="session")
def unsplit(tmp_path_factory, samples):
    """Data set of the first ten samples, without splits. Tests must not change it."""
    path = tmp_path_factory.mktemp("unsplit") / "plain"
    with LMDBWriter(path) as writer:
        for sample in samples[:10]:
            writer.add(sample)
    return path


@pytest.fixture(scope="session")
def write_lines():
    """Function that writes structures as JSON lines. The energy of a structure is its index."""

    def write(path, count, bad=()):
        with path.open("w") as file:
            for index in range(count):
                rng = np.random.default_rng(index)
                structure = {
                    "atomic_numbers": rng.integers(1, 90, 3).tolist(),
                    "positions": (rng.normal(size=(3, 3)) + np.diag([0, 9, 9])).tolist(),
                    "targets": {"energy": float(index)},
                    "extra": {"index_was": index},
                }
                file.write((json.dumps(structure) if index not in bad else "{") + "\n")
        return path

    return write


@pytest.fixture
def write_lmdb():
    """Function that writes an LMDB as the older toolkit does. Records are pickled, except bytes."""

    def write(path, records, keys=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        environment = lmdb.open(str(path), subdir=False, map_size=1 << 24)
        with environment.begin(write=True) as transaction:
            for key, record in zip(keys or range(len(records)), records, strict=True):
                value = record if isinstance(record, bytes) else pickle.dumps(record)
                transaction.put(str(key).encode(), value)
            transaction.put(b"length", pickle.dumps(len(records)))
        environment.close()
        return path

    return write
