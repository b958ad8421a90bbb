import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_data.importers.targets import (
    Label,
    to_array,
    to_class,
    to_number,
    to_rows,
    to_structure_row,
    to_undeclared,
)


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), np.array(2), np.array([2.0]), torch.tensor(2.0), [2.0]]
)
def test_number_becomes_float(value):
    number = to_number(value)
    assert type(number) is float
    assert number == 2.0


@pytest.mark.parametrize("convert", [to_number, to_class, lambda value: to_undeclared(value, 3)])
@pytest.mark.parametrize("value", [None, float("nan"), np.float64("nan")])
def test_null_and_nan_are_missing(convert, value):
    assert convert(value) is None


@pytest.mark.parametrize("value", [True, "1.0", [1.0, 2.0], {}, np.zeros((2, 2)), object()])
def test_not_a_number_raises(value):
    with pytest.raises(ValueError, match="must be a number, got"):
        to_number(value)


def test_class_is_integer_or_word():
    assert [to_class(value) for value in (3, True, 4.0, np.int64(5), "cubic", "")] == [
        3,
        1,
        4,
        5,
        "cubic",
        None,
    ]
    for value in (0.5, [1, 2], {}):
        with pytest.raises(ValueError, match="must be an integer or a word"):
            to_class(value)


@given(
    st.integers(1, 5),
    st.sampled_from([(), (3,), (3, 3)]),
    st.sampled_from([np.float32, np.float64, np.int64]),
)
def test_rows_keep_values(num_atoms, row, dtype):
    array = np.arange(num_atoms * int(np.prod(row))).reshape(num_atoms, *row).astype(dtype)
    for value in (array, array.tolist(), array.reshape(num_atoms, -1)):
        found = to_rows(value, num_atoms, row)
        assert found.shape == (num_atoms, *row)
        assert (found == array).all()
        assert found.dtype == (np.float32 if getattr(value, "dtype", None) == np.float32 else np.float64)
    with pytest.raises(ValueError, match=r"must have one row for each atom"):
        to_rows(array, num_atoms + 1, row)


def test_null_row_becomes_nan():
    assert np.isnan(to_rows([None, 1.0], 2, ())).tolist() == [True, False]


FULL = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])


@pytest.mark.parametrize(
    "value",
    [
        [1, 2, 3, 4, 5, 6],
        FULL,
        FULL.ravel(),
        FULL[None],
        FULL.tolist(),
        np.array([1, 2, 3, 4, 5, 6], np.float32),
        np.array([[1.0, 2, 3, 4, 5, 6]]),
    ],
)
def test_stress_in_any_form_becomes_tensor(value):
    tensor = to_structure_row(value, (3, 3))
    assert tensor.shape == (1, 3, 3)
    assert tensor.dtype == np.float64
    assert (tensor[0] == FULL).all()


def test_structure_row_keeps_vector_and_spectrum():
    assert to_structure_row([1, 2, 3], (3,)).tolist() == [[1.0, 2.0, 3.0]]
    assert to_structure_row(np.ones(7), None).shape == (1, 7)
    assert to_structure_row(np.ones((1, 7)), None).shape == (1, 7)
    with pytest.raises(ValueError, match=r"must have the shape \[3\], got \[2\]"):
        to_structure_row([1, 2], (3,))
    with pytest.raises(ValueError, match="must have the shape"):
        to_structure_row(np.ones((6, 3)), (3, 3))


def test_undeclared_array_belongs_to_atoms_or_structure():
    assert to_undeclared([1, 2, 3], 3).tolist() == [1.0, 2.0, 3.0]  # the whole data set decides
    assert to_undeclared([1, 2, 3], 5).tolist() == [[1.0, 2.0, 3.0]]
    assert to_undeclared([[1, 2, 3]], 5).tolist() == [[1.0, 2.0, 3.0]]
    assert to_undeclared([True, False], 2).dtype == np.int64
    assert to_undeclared(np.ones(2, np.float32), 2).dtype == np.float32
    assert [type(to_undeclared(value, 2)) for value in (True, Label(7), 1)] == [int, int, float]


def test_undeclared_text_raises():
    with pytest.raises(ValueError, match=r"is the text 'cubic', not a number; .* \(--classes\)"):
        to_undeclared("cubic", 2)
    with pytest.raises(ValueError, match="must be numbers"):
        to_array(["a", "b"])
    with pytest.raises(ValueError, match="rows of the same length"):
        to_array([[1.0], [1.0, 2.0]])
