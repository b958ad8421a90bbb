import subprocess
import sys

import numpy as np
import pytest
from mml_data.store.stored_dataset import StoredDataset


def test_stored_samples_equal_written_arrays(stored, samples):
    dataset = StoredDataset(stored)
    assert len(dataset) == len(samples)
    for index, given in enumerate(samples):
        got = dataset.stored(index)
        assert got["sample_id"] == f"toy/{index:06d}"
        for key in ("atomic_numbers", "pos", "cell"):
            assert isinstance(got[key], np.ndarray)
            assert got[key].dtype == given[key].dtype
            np.testing.assert_array_equal(got[key], given[key])


def test_split_selects_samples(stored):
    dataset = StoredDataset(stored, split="val")
    everything = StoredDataset(stored)
    ids = [dataset.stored(position)["sample_id"] for position in range(len(dataset))]
    assert ids == [everything.stored(index)["sample_id"] for index in dataset.indices]
    np.testing.assert_array_equal(dataset.sizes(), everything.sizes()[dataset.indices])
    assert repr(dataset) == f"StoredDataset({str(stored)!r}, split='val')"


def test_unknown_split_raises(stored):
    with pytest.raises(ValueError, match="has no split 'nope'; its splits are: 'train'"):
        StoredDataset(stored, split="nope")


def test_reading_does_not_import_torch(stored):
    code = (
        "import sys; from mml_data.store.stored_dataset import StoredDataset; "
        "data = StoredDataset(sys.argv[1]); data.stored(0); data.verify(); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(stored)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
