import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_data.importers.readers import json_stream
from mml_data.importers.readers.json_stream import JSONStream

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
CONTAINERS = st.lists(VALUES, max_size=6) | st.dictionaries(st.text(), VALUES, max_size=6)


def written(folder, text, encoding="utf-8"):
    path = folder / "a.json"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def small_chunks(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(json_stream, "_CHUNK", 3)
    return tmp_path_factory.mktemp("json")


@given(content=CONTAINERS, indent=st.sampled_from([None, 2]), escaped=st.booleans())
@settings(max_examples=150, deadline=None)
def test_members_equal_json(tmp_path_factory, content, indent, escaped):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=escaped), encoding="utf-8")
    chunk, json_stream._CHUNK = json_stream._CHUNK, 3
    try:
        with JSONStream(path) as stream:
            members = list(stream.members())
            assert stream.peek() == ""
    finally:
        json_stream._CHUNK = chunk
    expected = content.items() if isinstance(content, dict) else enumerate(content)
    assert members == [((key,), value) for key, value in expected]


def test_members_enter_chosen_lists(small_chunks):
    path = written(small_chunks, '{"a": [1, {"b": 2}], "c": [3]}')
    with JSONStream(path) as stream:
        members = list(stream.members(lambda keys, first: keys == ("a",)))
    assert members == [(("a", 0), 1), (("a", 1), {"b": 2}), (("c",), [3])]


def test_numbers_continue_over_chunks(small_chunks):
    with JSONStream(written(small_chunks, "[1234567890, NaN, -1.5e-10]")) as stream:
        values = [value for _, value in stream.members()]
    assert values[0] == 1234567890
    assert values[1] != values[1]
    assert values[2] == -1.5e-10


@pytest.mark.parametrize("length", range(1, 24))
def test_truncated_file_raises(small_chunks, length):
    path = written(small_chunks, '[{"ab": [1, 2, "c\\""]}, 3]'[:length])
    with JSONStream(path) as stream, pytest.raises(ValueError, match="truncated"):
        list(stream.members())


def test_damage_raises_at_once(tmp_path):
    path = written(tmp_path, '[{"a": 1}, {"b": oops}, ' + "1, " * 3_000_000 + "1]")
    found = []
    with JSONStream(path) as stream, pytest.raises(ValueError, match=r"damaged.*oops"):
        found.extend(stream.members())
    assert len(stream._text) < 3_000_000


def test_byte_order_mark_is_skipped(tmp_path):
    with JSONStream(written(tmp_path, "[1]", "utf-8-sig")) as stream:
        assert list(stream.members()) == [((0,), 1)]
