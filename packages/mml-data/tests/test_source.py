import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.importers.source import balanced, existing


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
def test_balanced_covers_sizes_in_order(sizes, count):
    pieces = balanced(sizes, count)
    assert [number for piece in pieces for number in range(len(sizes))[piece]] == list(range(len(sizes)))
    assert len(pieces) <= count
    assert all(piece.stop > piece.start for piece in pieces)


def test_balanced_slices_have_similar_size():
    pieces = balanced([5, 1, 1, 1, 1, 1, 5, 5], 4)
    assert pieces == [slice(0, 1), slice(1, 6), slice(6, 7), slice(7, 8)]


def test_existing_requires_path(tmp_path):
    assert existing(str(tmp_path)) == tmp_path
    with pytest.raises(FileNotFoundError, match=r"none' does not exist; pass an existing file or directory"):
        existing(tmp_path / "none")


@pytest.mark.parametrize("address", ["https://example.org/a.xyz", "s3://bucket/a.xyz"])
def test_address_raises(address):
    with pytest.raises(FileNotFoundError, match="is an address; download the file first, and pass its path"):
        existing(address)
