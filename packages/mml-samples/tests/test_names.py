import pytest
from mml_samples import sample_name


@pytest.mark.parametrize(
    ("sample", "index", "name"),
    [
        ({"sample_id": "emt/000007"}, None, "sample 'emt/000007'"),
        ({"sample_id": "emt/000007"}, 3, "sample 'emt/000007'"),
        ({"sample_id": ["a", "b"]}, 1, "sample 'b'"),
        ({"sample_id": ["a", "b"]}, 2, "sample 2 of the batch"),
        ({}, 0, "sample 0 of the batch"),
        ({}, None, "the sample"),
    ],
)
def test_name_is_identifier_or_place(sample, index, name):
    assert sample_name(sample, index) == name
