"""Convert the values of labels to the form in which they are stored.

Every function takes a value as a reader yields it, returns None if the value is missing (null or NaN), and
raises a ValueError, which begins with a verb, if the value is of another kind.
"""

import reprlib
from typing import Any

import numpy as np

from mml_data.tensor_type import is_tensor

__all__ = [
    "Label",
    "to_array",
    "to_class",
    "to_number",
    "to_rows",
    "to_structure_row",
    "to_undeclared",
]

_VOIGT = np.array([0, 5, 4, 5, 1, 3, 4, 3, 2])


class Label(int):
    """Number of a class. A plain integer would be read as a quantity."""


def to_number(value: Any) -> float | None:
    """Convert a number to float. An array with one number counts as a number."""
    if type(value) is not float:
        if value is None:
            return None
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(()).item()
        elif is_tensor(value) and value.numel() == 1:
            value = value.item()
        elif isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            raise ValueError(f"must be a number, got {_shown(value)}")
        value = float(value)
    return value if value == value else None  # only NaN differs from itself


def to_class(value: Any) -> int | str | None:
    """Return an integer, a boolean (as 0 or 1) or a word that names a class. Anything else is not a class."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(()).item()
    elif isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise ValueError(f"must be an integer or a word that names a class, got {_shown(value)}")


def to_rows(value: Any, num_atoms: int, row: tuple[int, ...] | None) -> np.ndarray | None:
    """Convert an array to [N, *row]. float32 is kept, other numbers become float64."""
    if value is None:
        return None
    array = value if type(value) is np.ndarray else to_array(value)
    if array.shape != (num_atoms, *(row if row is not None else array.shape[1:])):
        wanted = (num_atoms, *(row or ()))
        if array.size != np.prod(wanted) or array.shape[:1] != (num_atoms,):
            raise ValueError(f"must have one row for each atom, {list(wanted)}, got {_found(value, array)}")
        array = array.reshape(wanted)
    return _float(array, keep=True)


def to_structure_row(value: Any, row: tuple[int, ...] | None) -> np.ndarray | None:
    """Convert the array of a structure to [1, *row] float64. A symmetric tensor may have six components.

    Six components are in the order xx yy zz yz xz xy, and nine are the rows of the tensor.
    """
    if value is None:
        return None
    array = value if type(value) is np.ndarray else to_array(value)
    if row == (3, 3) and array.size == 6 and max(array.shape) == 6:
        return _float(array.reshape(6)[_VOIGT].reshape(1, 3, 3))
    if row is None:
        row = array.shape[1:] if array.shape[:1] == (1,) and array.ndim > 1 else array.shape
    if array.size != np.prod(row) or (array.ndim > 1 and array.shape not in (row, (1, *row))):
        raise ValueError(f"must have the shape {list(row)}, got {_found(value, array)}")
    return _float(array.reshape(1, *row))


def to_undeclared(value: Any, num_atoms: int, *, per_structure: bool = False) -> Any:
    """Convert a value whose kind is neither declared by its format nor known by its name.

    Booleans and `Label` become int, which marks a class. Numbers become float. An array is stored as
    [1, ...] if its first size is not the number of atoms, because it then belongs to the structure.
    Otherwise its shape is kept, and the schema of the whole data set decides.

    Parameters
    ----------
    value
        Value.
    num_atoms
        Number of atoms N.
    per_structure
        Whether the format declares that the value belongs to the structure, not to its atoms.
    """
    kind = type(value)
    if kind is float or kind is int:
        return to_number(value)
    if isinstance(value, bool | np.bool_ | Label):
        return int(value)
    if isinstance(value, str):
        raise ValueError(
            f"is the text {reprlib.repr(value)}, not a number; to use words as classes, name this target in "
            "classes (--classes)"
        )
    if value is None or isinstance(value, int | float | np.number):
        return to_number(value)
    array = to_array(value)
    if array.ndim == 0:
        return to_undeclared(array.item(), num_atoms)
    is_class = array.dtype.kind == "b"
    array = array.astype(np.int64) if is_class else array
    per_atom = array.shape[0] == num_atoms and not per_structure
    if not is_class:
        array = _float(array, keep=per_atom)
    return array if per_atom or (array.ndim > 1 and array.shape[0] == 1) else array[None]


def to_array(value: Any) -> np.ndarray:
    """Convert lists, arrays and tensors to an array of numbers or booleans. Null becomes NaN."""
    if is_tensor(value):
        return np.asarray(value.detach().cpu().numpy())
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"must be numbers in rows of the same length, got {_shown(value)}") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"must be numbers, got {_shown(value)}")
    return array


def _float(array: np.ndarray, *, keep: bool = False) -> np.ndarray:
    """Return the array in float64. With `keep`, float32 is kept."""
    if array.dtype == np.float64 or (keep and array.dtype == np.float32):
        return array
    return array.astype(np.float64)


def _found(value: Any, array: np.ndarray) -> str:
    return _shown(value) if array.ndim == 0 else str(list(array.shape))


def _shown(value: Any) -> str:
    return reprlib.repr(value) if not isinstance(value, np.ndarray) else f"an array {list(value.shape)}"
