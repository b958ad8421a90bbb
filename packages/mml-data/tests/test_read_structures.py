import json

import numpy as np
import pytest
import torch
from mml_data import LMDBDataset
from mml_data.convert import import_source, read_structures


def line(number, **more):
    return {
        "atomic_numbers": [3, 9],
        "positions": [[0, 0, 0.1 * number], [0, 0, 2]],
        "cell": [[3, 0, 0], [0, 3, 0], [0, 0, 4]],
        "targets": {"energy": float(number)},
    } | more


def write(path, lines):
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return path


def test_structures_equal_imported_ones(tmp_path):
    path = write(tmp_path / "some.jsonl", [line(n) for n in range(3)])
    found = list(read_structures(path))
    import_source(path, tmp_path / "made", splits=(1, 0, 0))
    made = LMDBDataset(tmp_path / "made")
    assert [place.rpartition(":")[2] for place, _ in found] == ["1", "2", "3"]
    for (_, sample), other in zip(found, made, strict=True):
        assert sample.keys() == other.keys() - {"targets", "target_types", "sample_id"}
        for key, value in sample.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == other[key].dtype
                np.testing.assert_array_equal(value, other[key])
            else:
                assert value == other[key]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"positions": [[0, 0, 0]]}, r"some\.jsonl:2: .*positions|some\.jsonl:2: .*pos"),
        ({"atomic_numbers": [3, 0]}, r"some\.jsonl:2: "),
        ({"cell": [[1, 0, 0], [1, 0, 0], [0, 0, 1]]}, r"some\.jsonl:2: 'cell' has zero volume"),
    ],
)
def test_invalid_structure_raises(tmp_path, bad, said):
    path = write(tmp_path / "some.jsonl", [line(0), line(1, **bad)])
    read = read_structures(path)
    next(read)
    with pytest.raises(ValueError, match=said):
        next(read)


def test_missing_or_unsupported_file_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; pass an existing file"):
        list(read_structures(tmp_path / "none.cif"))
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match="has no supported format; supported are"):
        list(read_structures(tmp_path / "notes.txt"))
