import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mml_data.store.packs import Record
from mml_data.store.records import ARRAY_DTYPES, decode_record, encode_record

arrays = st.sampled_from(ARRAY_DTYPES).flatmap(
    lambda name: hnp.arrays(
        st.sampled_from([np.dtype(name), np.dtype(name).newbyteorder(">")]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=9),
    arrays,
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)
samples = st.dictionaries(st.text(max_size=6), values, max_size=6)


def assert_same(left, right):
    if isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray)
        assert left.dtype.newbyteorder("=") == right.dtype.newbyteorder("=")
        assert left.shape == right.shape
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key, value in left.items():
            assert_same(value, right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    else:
        assert type(left) is type(right)
        assert left == right or (left != left and right != right)


@given(samples)
def test_decoding_inverts_encoding(sample):
    record = encode_record(sample)
    assert_same(sample, decode_record(record))
    assert record == encode_record(sample)


@given(st.lists(arrays, min_size=1, max_size=4))
def test_arrays_share_one_writable_buffer(given_arrays):
    decoded = decode_record(encode_record({"pad": "x", "arrays": given_arrays}))["arrays"]
    for array in decoded:
        assert array.flags.aligned
        assert array.flags.writeable
        assert not array.flags.owndata
        assert isinstance(array.base, bytearray)
        assert array.base is decoded[0].base


def test_changing_arrays_keeps_record():
    record = encode_record({"pos": np.ones((2, 3))})
    decode_record(record)["pos"][:] = 7
    np.testing.assert_array_equal(decode_record(record)["pos"], np.ones((2, 3)))


def test_encoding_converts_types():
    sample = {
        "a": torch.arange(3).requires_grad_(False),
        "b": np.float32(0.5),
        "c": (1, np.int8(2)),
        "d": torch.tensor(1.5),
    }
    decoded = decode_record(encode_record(sample))
    np.testing.assert_array_equal(decoded["a"], [0, 1, 2])
    assert decoded["b"] == 0.5
    assert decoded["c"] == [1, 2]
    assert decoded["d"].shape == ()


def test_encoding_copies_strided_views():
    array = np.arange(24.0).reshape(2, 3, 4)
    decoded = decode_record(encode_record({"t": array.T, "s": array[:, ::2], "f": np.asfortranarray(array)}))
    np.testing.assert_array_equal(decoded["t"], array.T)
    np.testing.assert_array_equal(decoded["s"], array[:, ::2])
    np.testing.assert_array_equal(decoded["f"], array)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, r"targets\.x is a builtins\.set"),
        ([object()], r"targets\.x\[0\] is a builtins\.object"),
        (np.array([1j]), r"targets\.x is an array of complex128"),
        (np.array(["a"]), r"targets\.x is an array of <U1"),
        (np.array([None]), r"targets\.x is an array of object"),
        (torch.zeros(1, dtype=torch.bfloat16), r"targets\.x is a tensor of torch\.bfloat16"),
        ({1: 2}, r"targets\.x must be strings, got 1"),
    ],
)
def test_unsupported_value_raises(value, message):
    with pytest.raises(TypeError, match=message):
        encode_record({"targets": {"x": value}})


def test_large_integers_and_broken_text_raise():
    with pytest.raises(ValueError, match="a must fit into 64 bits, got 9223372036854775808"):
        encode_record({"a": 2**63})
    with pytest.raises(ValueError, match="not valid Unicode"):
        encode_record({"a": "\ud800"})


VALID = encode_record({"pos": np.zeros(4)})


@pytest.mark.parametrize(
    "record",
    [
        Record(b"\x80", b""),
        Record(b"\x80", b"\x01"),
        Record(b"\x80", b"\xff\xff\xff\xff"),
        Record(b"", VALID.body),
        Record(msgpack.packb(3), VALID.body),
        Record(msgpack.packb({"pos": ["float64", -8, 4]}), VALID.body),
        Record(msgpack.packb({"pos": ["float65", 0, 4]}), VALID.body),
        VALID._replace(body=VALID.body[:-1]),
        Record(msgpack.packb({"a": 0}), (9).to_bytes(4, "little") + b"\xc7\x07\x02" + b"\x00" * 20),
        Record(msgpack.packb({"a": 1}), (2).to_bytes(4, "little") + msgpack.packb([7]) + b"\x00" * 8),
    ],
)
def test_invalid_record_raises(record):
    with pytest.raises(ValueError, match="the record is invalid"):
        decode_record(record)
