import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.store.codec import COMPRESSIONS, check_compression, compressor, decompressor


@given(st.binary(max_size=200), st.sampled_from(COMPRESSIONS))
def test_decompression_inverts_compression(data, name):
    assert decompressor(name)(compressor(name)(data)) == data
    assert decompressor(name)(memoryview(compressor(name)(data))) == data


def test_zstd_shrinks_repetition():
    assert len(compressor("zstd")(bytes(10_000))) < 100


def test_damaged_data_raise():
    with pytest.raises(ValueError, match="the record cannot be decompressed"):
        decompressor("zstd")(b"not compressed")
    whole = compressor("zstd")(b"abc" * 100)
    with pytest.raises(ValueError, match="the record cannot be decompressed"):
        decompressor("zstd")(whole[:-3])


def test_missing_library_names_install_command(monkeypatch):
    monkeypatch.setattr("mml_data.store.codec.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'mml-data\[zstd\]'"):
        check_compression("zstd")
    check_compression(None)
