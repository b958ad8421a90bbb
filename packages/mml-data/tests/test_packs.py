from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.store.packs import Record, count_records, pack_records, pack_size, unpack_record, unpack_records

records = st.builds(Record, st.sampled_from([b"", b"one", b"another layout"]), st.binary(max_size=40))


@given(st.lists(records, max_size=70))
def test_unpacking_inverts_packing(given_records):
    pack = pack_records(given_records)
    assert count_records(pack) == len(given_records)
    assert list(unpack_records(pack)) == given_records
    assert [unpack_record(memoryview(pack), index) for index in range(len(given_records))] == given_records


def test_layouts_are_stored_once():
    pack = pack_records([Record(b"layout" * 100, b"body")] * 64)
    assert len(pack) < 64 * (4 + 16) + 700


@given(st.binary(max_size=60))
def test_invalid_packs_raise(content):
    """Random bytes give an error or records within them, but nothing else."""
    with suppress(ValueError):
        for record in unpack_records(content):
            assert isinstance(record.layout, bytes)
            assert len(record.body) <= len(content)


@pytest.mark.parametrize(
    ("size", "expected"), [(0, 64), (100, 64), (1 << 14, 64), (1 << 16, 16), (3 << 20, 1)]
)
def test_pack_size_bounds_bytes(size, expected):
    assert pack_size(Record(b"", bytes(size))) == expected
