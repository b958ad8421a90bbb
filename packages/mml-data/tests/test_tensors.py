import numpy as np
import pytest
import torch
from mml_data.store.records import encode_record
from mml_data.store.tensors import read_tensors

SAMPLE = {
    "atomic_numbers": np.array([1, 8], np.uint8),
    "pos": np.ones((2, 3), np.float64),
    "cell": np.eye(3, dtype=np.float32),
    "pbc": np.array([True, False, True]),
    "charge": np.ones(2, np.float64),
    "targets": {
        "energy": 0.1,
        "label": 3,
        "flag": True,
        "force": np.ones((2, 3)),
        "coarse": np.ones((2, 3), np.float32),
        "deep": {"list": [1, 2.5]},
    },
    "extra": {"count": 4, "note": "x", "values": np.arange(2, dtype=np.int16)},
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("default", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_floats_follow_default_dtype(default):
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        sample = read_tensors(encode_record(SAMPLE))
    finally:
        torch.set_default_dtype(before)
    dtypes = {key: value.dtype for key, value in sample.items() if isinstance(value, torch.Tensor)}
    array = default if default != torch.bfloat16 else torch.float32  # numpy has no bfloat16
    assert dtypes == {
        "atomic_numbers": torch.int64, "pos": torch.float64, "cell": torch.float32, "pbc": torch.bool,
        "charge": array, "empty": array,
    }  # fmt: skip
    targets = sample["targets"]
    assert (targets["energy"].dtype, targets["label"].dtype, targets["flag"].dtype) == (
        torch.float64,
        torch.int64,
        torch.bool,
    )
    assert targets["energy"].shape == ()
    assert targets["force"].dtype == targets["coarse"].dtype == torch.float64
    assert float(targets["energy"]) == 0.1
    assert [(value.item(), value.dtype) for value in targets["deep"]["list"]] == [
        (1, torch.int64),
        (2.5, torch.float64),
    ]
    assert (sample["extra"]["count"], sample["extra"]["note"]) == (4, "x")
    assert sample["extra"]["values"].dtype == torch.int64
    assert sample["empty"].shape == (0, 3)


def test_changing_tensor_keeps_record():
    record = encode_record(SAMPLE)
    read_tensors(record)["pos"].mul_(7)
    assert torch.equal(read_tensors(record)["pos"], torch.ones(2, 3, dtype=torch.float64))


def test_large_numbers_become_infinite():
    sample = read_tensors(encode_record({"feature": np.array([1e300, -1e300, 1.0])}))
    assert sample["feature"].tolist() == [float("inf"), float("-inf"), 1.0]
