import numpy as np
import pytest
from mml_data import LMDBWriter


def _make_samples(count, seed=0):
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        natoms = int(rng.integers(1, 7))
        samples.append(
            {
                "atomic_numbers": rng.integers(1, 30, natoms).astype(np.uint8),
                "pos": rng.normal(size=(natoms, 3)),
                "cell": np.eye(3)[None] * 9.0,
                "pbc": np.ones(3, dtype=bool),
                "targets": {
                    "energy": float(rng.normal()),
                    "force": rng.normal(size=(natoms, 3)).astype(np.float32),
                    "system": index % 3,
                },
                "target_types": {"regression": ["energy", "force"], "classification": ["system"]},
            }
        )
    return samples


@pytest.fixture(scope="session")
def make_samples():
    """Makes so many samples; the same ones for the same seed."""
    return _make_samples


@pytest.fixture(scope="session")
def samples():
    return _make_samples(20)


@pytest.fixture(scope="session")
def splits():
    return {"train": [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 0, 2], "val": [4, 6, 8], "test": [10, 12]}


@pytest.fixture(scope="session")
def stored(tmp_path_factory, samples, splits):
    """A data set of 20 samples in three shards, with splits; do not change it."""
    path = tmp_path_factory.mktemp("stored") / "toy"
    with LMDBWriter(path, source={"origin": "made up", "license": "MIT"}, shard_size=8) as writer:
        for sample in samples:
            writer.add(sample)
        writer.set_splits(splits)
    return path


@pytest.fixture(scope="session")
def unsplit(tmp_path_factory, samples):
    """The first ten samples, without splits; do not change it."""
    path = tmp_path_factory.mktemp("unsplit") / "plain"
    with LMDBWriter(path) as writer:
        for sample in samples[:10]:
            writer.add(sample)
    return path
