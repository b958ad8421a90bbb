import numpy as np
from mml_data.store.schema import SchemaBuilder


def schema(*samples, units=None):
    builder = SchemaBuilder(units)
    for num_atoms, sample in samples:
        builder.add(sample, num_atoms)
    return builder.result()


def test_num_atoms_becomes_n():
    result = schema(
        (2, {"pos": np.zeros((2, 3)), "targets": {"charge": np.zeros(2), "stress": np.zeros((1, 3, 3))}}),
        (5, {"pos": np.zeros((5, 3)), "targets": {"charge": np.zeros(5), "stress": np.zeros((1, 3, 3))}}),
    )
    assert result["pos"] == {"dtype": "float64", "shape": ["N", 3], "units": "angstrom", "samples": 2}
    assert result["targets.charge"]["shape"] == ["N"]
    assert result["targets.stress"] == {
        "dtype": "float64",
        "shape": [1, 3, 3],
        "units": "eV/angstrom^3",
        "samples": 2,
        "kind": "tensor",
    }


def test_equal_sizes_keep_n():
    result = schema(*[(3, {"pos": np.zeros((3, 3)), "pbc": np.zeros(3, bool), "cell": np.zeros((3, 3))})] * 2)
    assert [result[key]["shape"] for key in ("pos", "pbc", "cell")] == [["N", 3], [3], [3, 3]]
    assert schema((1, {"targets": {"dipole": np.zeros((1, 3))}}))["targets.dipole"]["shape"] == [1, 3]


def test_varying_size_becomes_none():
    result = schema(
        (2, {"edges": np.zeros((7, 2)), "a": np.zeros(4)}),
        (2, {"edges": np.zeros((5, 2)), "a": np.zeros((4, 1))}),
    )
    assert result["edges"]["shape"] == [None, 2]
    assert result["a"]["shape"] is None


def test_schema_counts_dtypes_and_samples():
    result = schema((1, {"x": 1, "note": "a"}), (1, {"x": 1.5, "y": np.zeros(1, "f4")}), units={"x": "K"})
    assert result["x"] == {"dtype": "float|int", "shape": None, "units": "K", "samples": 2}
    assert result["note"]["samples"] == result["y"]["samples"] == 1
    assert result["y"]["units"] is None
