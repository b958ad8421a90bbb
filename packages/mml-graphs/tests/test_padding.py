import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_graphs.batches.padding import pad, pad_key

sizes = st.integers(0, 4)


@given(st.integers(1, 4).flatmap(lambda ndim: st.lists(st.tuples(*[sizes] * ndim), min_size=1, max_size=4)))
def test_values_stay_in_place(shapes):
    features = shapes[0][-1]
    if len(shapes[0]) > 1:
        shapes = [(*shape[:-1], features) for shape in shapes]
    arrays = [torch.rand(shape) + 1 for shape in shapes]
    padded, mask = pad(arrays)
    for axis in range(max(1, len(shapes[0]) - 1)):
        assert padded.shape[axis + 1] == mask.shape[axis + 1] == max(shape[axis] for shape in shapes)
    for array, row, where in zip(arrays, padded, mask, strict=True):
        assert torch.equal(row[where].flatten(), array.flatten())
        assert not row[~where].any()
    assert padded.dtype == arrays[0].dtype


def test_dtypes_are_promoted():
    padded, _ = pad([torch.tensor([1]), torch.tensor([0.5], dtype=torch.float64)])
    assert padded.dtype == torch.float64
    assert padded.tolist() == [[1.0], [0.5]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([torch.zeros(2), torch.zeros(2, 1)], r"shapes \[2\] and \[2, 1\] cannot be padded"),
        ([torch.zeros(2, 3), torch.zeros(2, 2)], r"shapes \[2, 3\] and \[2, 2\] cannot be padded"),
        ([torch.tensor(1.0)], "cannot pad numbers"),
    ],
)
def test_unpaddable_arrays_raise(arrays, message):
    with pytest.raises(ValueError, match=message):
        pad(arrays)


def test_padded_key_has_a_mask():
    padded = pad_key("charge", [torch.ones(1), torch.ones(2)], ["a", "b"])
    assert padded["charge"].tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert padded["charge_mask"].tolist() == [[True, False], [True, True]]


def test_numbers_raise_with_the_sample():
    with pytest.raises(
        ValueError, match="pad_keys contains 'n', which is of type int in b, expected an array"
    ):
        pad_key("n", [torch.ones(1), 2], ["a", "b"])
