import subprocess
import sys
from time import monotonic

import numpy as np
import pytest
from mml_data.devsets import devset_path
from mml_data.physics.quick import quick_findings
from mml_data.store.stored_dataset import StoredDataset


def test_sound_dataset_has_no_findings():
    assert quick_findings(devset_path("emt")) == []


def test_wrong_sign_is_found():
    dataset = StoredDataset(devset_path("emt"))

    def wrong(index):
        sample = dataset.stored(index)
        sample["targets"]["stress"] = -1602 * sample["targets"]["stress"]
        sample["targets"]["force"] = sample["targets"]["force"] + np.array([0.5, 0, 0])
        return sample

    found = {each.check for each in quick_findings(wrong, len(dataset))}
    assert {"stress", "net_force"} <= found


def test_few_samples_are_read_of_many():
    dataset = StoredDataset(devset_path("emt"))
    read = []

    def sample(index):
        read.append(index)
        return dataset.stored(index % len(dataset))

    start = monotonic()
    quick_findings(sample, 10**6)
    assert monotonic() - start < 10
    assert len(read) <= 200
    assert 0 in read


def test_function_needs_count():
    with pytest.raises(ValueError, match="count is required"):
        quick_findings(lambda index: {})


def test_import_needs_no_torch():
    code = "import mml_data.physics.quick, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
