"""Read untrusted pickles without executing code in them.

A pickle is a program: it names callables, which the unpickler imports and calls. This module provides only a
few callables that build plain data (numbers, containers, arrays, tensors), and replaces functions with its
own implementations. Classes of the libraries that created the data sets (pymatgen, emmet, PyG, ...) are never
imported. Their objects become `Record`. Any other name raises an error before the pickle could call it.
"""

import collections
import datetime
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Never, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["Fields", "Record", "UnsafePickleError", "fields", "load_pickle"]

_INERT = ("pymatgen", "emmet", "mp_api", "monty", "pydantic", "torch_geometric", "munch")
"""Libraries whose objects are read as records."""

Fields: TypeAlias = Mapping[str, Any]
"""Contents of an object by name, see `fields`."""


class UnsafePickleError(ValueError):
    """Error for a pickle that names a class or function that is not known to be harmless."""


class Record(dict[object, Any]):
    """Contents of a library's object: its state as attributes, and its items if it was a dict.

    No code of the library has been executed. ``args`` are the arguments of the object's constructor.
    """

    args: tuple[object, ...]

    def __new__(cls, *args: object, **kwargs: object) -> "Record":
        """Create a record and store the constructor arguments."""
        record = super().__new__(cls)
        record.args = args
        return record

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Store the state of the object."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, Mapping):
                self.__dict__.update({str(name): value for name, value in part.items()})
            elif part is not None:
                self.__dict__["state"] = part

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<record of {type(self).__name__}: {', '.join(map(str, self.__dict__))}>"


def fields(value: object) -> Fields:
    """Return the contents of an object by name: its items or its attributes."""
    if isinstance(value, Record):
        state = {name: item for name, item in vars(value).items() if name != "args"}
        inner = state.get("__dict__")
        return {**value, **(inner if isinstance(inner, Mapping) else state)}
    return value if isinstance(value, dict) else getattr(value, "__dict__", {})


def load_pickle(data: bytes, *, trust: bool = False) -> object:
    """Return the contents of a pickle.

    Parameters
    ----------
    data
        Bytes of the pickle.
    trust
        Whether to execute the pickle, including any code in it. Use this only for files from a source whose
        programs you would run.

    Raises
    ------
    UnsafePickleError
        If the pickle names something that is not known to be harmless. No code has been executed.
    ValueError
        If the data are not a pickle, or if the pickle is damaged.
    """
    try:
        return pickle.loads(data) if trust else _Unpickler(io.BytesIO(data)).load()
    except UnsafePickleError:
        raise
    except ImportError as error:
        raise ValueError(
            f"the pickle requires {error.name or error}, which cannot be imported; install it"
        ) from error
    except Exception as error:
        raise ValueError(f"the record is not a readable pickle: {type(error).__name__}: {error}") from error


class _Unpickler(pickle.Unpickler):
    """Unpickler limited to the callables in the tables below and to record classes created per pickle."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._records: dict[tuple[str, str], type[Record]] = {}

    def find_class(self, module: str, name: str) -> object:
        """Return the replacement of a global, or raise an error."""
        plain = _PLAIN.get((module.replace("numpy._core", "numpy.core"), name))
        if plain is not None:
            return plain
        function = _FUNCTIONS.get((module.replace("numpy._core", "numpy.core"), name))
        if function is not None:
            # A new function each time: a pickle can change attributes only of its own copy.
            return lambda *args: function(*args)
        if module == "torch" and (dtype := _torch_dtype(name)) is not None:
            return dtype
        if module.partition(".")[0] in _INERT:
            return self._records.setdefault((module, name), type(name, (Record,), {"__module__": module}))
        raise UnsafePickleError(
            f"the pickle refers to {module}.{name}, which is not known to be harmless, and was not "
            "executed; if you trust its source like the source of a program, pass trust_pickle=True "
            "(--trust-pickle)"
        )

    def persistent_load(self, pid: object) -> Never:
        """Raise an error for a reference to an object outside the pickle."""
        raise UnsafePickleError(f"the pickle refers to an object outside of the pickle: {pid!r}")


def _torch_dtype(name: str) -> "torch.dtype | None":
    import torch

    dtype = vars(torch).get(name)
    return dtype if isinstance(dtype, torch.dtype) else None


def _load_storage(data: bytes) -> object:
    import torch

    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def _rebuild_tensor(
    storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *rest: object
) -> "torch.Tensor":
    import torch

    numbers = torch.empty(0, dtype=storage.dtype)
    numbers.set_(storage)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(offset, *size, *stride, 0) < 0 or (0 not in size and last >= numbers.numel()):
        raise ValueError(
            f"a tensor of shape {list(size)} does not fit into a storage of {numbers.numel()} numbers"
        )
    return numbers.as_strided(tuple(size), tuple(stride), offset).clone()


def _array_of_bytes(
    data: bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...], order: str
) -> np.ndarray:
    return np.frombuffer(data, dtype=dtype).reshape(shape, order=order).copy()  # type: ignore[call-overload]


def _empty_array(kind: type, shape: object, dtype: object) -> np.ndarray:
    if kind is not np.ndarray:
        raise ValueError(f"arrays of the class {kind} are not supported")
    return np.empty(0, dtype="b")  # the pickle sets shape, dtype and values afterwards


def _scalar(dtype: np.dtype[np.generic], data: bytes) -> object:
    return np.frombuffer(data, dtype=dtype, count=1)[0] if dtype.itemsize else np.zeros((), dtype)[()]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {encoding!r} are not supported")
    return text.encode("latin1")


def _reconstruct_object(kind: type, base: type, state: object) -> Record:
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise ValueError(f"objects of the class {kind} are not supported")
    record = kind()
    if base is dict and isinstance(state, Mapping):
        record.update(state)
    return record


def _new_object(kind: type, *args: object) -> Record:
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise ValueError(f"objects of the class {kind} are not supported")
    return kind(*args)


_BUILTINS = (set, frozenset, complex, bytearray, bytes, dict, list, tuple, int, float, str, bool, object)
# Classes implemented in C, which a pickle cannot change.
_PLAIN: dict[tuple[str, str], type] = {
    **{("builtins", kind.__name__): kind for kind in _BUILTINS},
    **{("__builtin__", kind.__name__): kind for kind in _BUILTINS},
    ("collections", "OrderedDict"): collections.OrderedDict,
    **{
        ("datetime", kind.__name__): kind
        for kind in (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone)
    },
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("torch", "Size"): tuple,
}
_FUNCTIONS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _array_of_bytes,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch.storage", "_load_from_bytes"): _load_storage,
    ("_codecs", "encode"): _encode,
    ("copyreg", "_reconstructor"): _reconstruct_object,
    ("copy_reg", "_reconstructor"): _reconstruct_object,
    ("copyreg", "__newobj__"): _new_object,
}
