import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.store.codec import COMPRESSIONS, check_compression, compressor, decompressor
from mml_data.store.packs import Record


@given(st.binary(max_size=200), st.sampled_from(COMPRESSIONS))
def test_decompression_inverts_compression(data, name):
    record = Record(b"layout", data)
    layout, body = compressor(name)(record)
    assert decompressor(name)(Record(layout, body)) == record
    assert decompressor(name)(Record(layout, memoryview(body))) == record


def test_zstd_shrinks_repetition():
    assert len(compressor("zstd")(Record(b"", bytes(10_000))).body) < 100


def test_damaged_data_raise():
    with pytest.raises(ValueError, match="the record cannot be decompressed"):
        decompressor("zstd")(Record(b"", b"not compressed"))
    layout, whole = compressor("zstd")(Record(b"", b"abc" * 100))
    with pytest.raises(ValueError, match="the record cannot be decompressed"):
        decompressor("zstd")(Record(layout, whole[:-3]))


def test_missing_library_names_install_command(monkeypatch):
    monkeypatch.setattr("mml_data.store.codec.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'mml-data\[zstd\]'"):
        check_compression("zstd")
    check_compression(None)
