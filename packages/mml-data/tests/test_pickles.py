import copyreg
import datetime
import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mml_data.importers.pickles import Record, UnsafePickleError, fields, load_pickle

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.datetimes()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)


@given(plain, st.integers(0, 5))
def test_loading_keeps_plain_data(value, protocol):
    assert load_pickle(pickle.dumps(value, protocol)) == value


@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "i8", "u1", "?", ">f8", "U3", "S2"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
    st.integers(0, 5),
    st.booleans(),
)
def test_loading_keeps_arrays(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    data = pickle.dumps({"array": array, "scalars": list(array.ravel())}, protocol)
    loaded = load_pickle(data)
    np.testing.assert_array_equal(loaded["array"], array)
    assert loaded["array"].dtype == pickle.loads(data)["array"].dtype
    np.testing.assert_array_equal(np.array(loaded["scalars"], array.dtype).ravel(), array.ravel())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16])
@pytest.mark.parametrize("protocol", [2, 4])
def test_loading_keeps_tensors(dtype, protocol):
    whole = torch.arange(24).to(dtype)
    for tensor in (whole, whole.view(4, 6).T, whole[3:9:2], torch.empty(0, 3, dtype=dtype), whole[5]):
        loaded = load_pickle(pickle.dumps({"t": tensor, "dtype": dtype, "size": tensor.shape}, protocol))
        assert torch.equal(loaded["t"], tensor)
        assert (loaded["dtype"], loaded["size"]) == (dtype, tensor.shape)


def test_known_objects_become_records():
    pymatgen = pytest.importorskip("pymatgen.core")
    structure = pymatgen.Structure(pymatgen.Lattice.cubic(3.0), ["Fe", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    record = load_pickle(pickle.dumps(structure))
    assert isinstance(record, Record)
    assert not isinstance(record, pymatgen.Structure)
    np.testing.assert_array_equal(fields(fields(record)["_lattice"])["_matrix"], 3 * np.eye(3))
    assert "record of Structure" in repr(record)


def renamed(module, name):
    """Pickle an object as if its class were in another module."""
    return pickle.dumps(Thing(7), 2).replace(f"{__name__}\nThing".encode(), f"{module}\n{name}".encode())


class Thing:
    def __init__(self, number):
        self.number = number


def test_inert_classes_need_no_library():
    record = load_pickle(renamed("emmet.core.nowhere", "SymmetryData"))
    assert (type(record).__name__, fields(record)) == ("SymmetryData", {"number": 7})


class Malicious:
    """Object that calls a function when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def torch_bytes(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def nested(path):
    return Malicious(getattr, Malicious(__import__, "os"), "system")


def attacks(path):
    command = f"touch {path}"
    run = Malicious(os.system, command)
    yield "os.system", pickle.dumps(run)
    yield "os.system, old protocol", pickle.dumps(run, 0)
    yield "within plain data", pickle.dumps({"pos": [1.0, {"deep": (run,)}]})
    yield "eval", pickle.dumps(Malicious(eval, f"__import__('os').system({command!r})"))
    yield "getattr of an import", pickle.dumps(nested(path))
    yield (
        "a dotted global",
        b"\x80\x04\x8c\x05numpy\x94\x8c\x0fndarray.tofile\x94\x93" + b"\x8c\x01a\x85R.",
    )
    yield "numpy's own way to os", b"\x80\x04\x8c\x05numpy\x8c\x0ctest\x93)R."
    yield "torch.load", pickle.dumps(Malicious(torch.load, io.BytesIO(torch_bytes(run))))
    yield (
        "a storage that is a pickle",
        pickle.dumps(Malicious(torch.storage._load_from_bytes, torch_bytes(run))),
    )
    yield "a class of ours by its constructor", pickle.dumps(Malicious(Thing, 1))
    yield "copyreg with a class", pickle.dumps(Malicious(copyreg._reconstructor, Thing, object, None))
    yield "a registry", b"\x80\x02\x82\x01."
    yield "something outside", b"\x80\x02X\x01\x00\x00\x00aQ."
    yield "pickle in a pickle", pickle.dumps(Malicious(pickle.loads, pickle.dumps(run)))
    yield (
        "a function of torch with other storage",
        pickle.dumps(
            Malicious(
                torch._utils._rebuild_tensor_v2,
                Malicious(os.system, command),
                0,
                (1,),
                (1,),
                False,
                OrderedDict(),
            )
        ),
    )
    yield "partial", pickle.dumps(Malicious(__import__("functools").partial, os.system, command))


@pytest.mark.parametrize("name", [name for name, _ in attacks("x")])
def test_malicious_pickle_runs_nothing(tmp_path, name):
    touched = tmp_path / "touched"
    data = dict(attacks(touched))[name]
    with pytest.raises(
        ValueError, match=r"not known to be harmless|not a readable pickle|outside of the pickle"
    ):
        load_pickle(data)
    assert not touched.exists()


def test_error_names_refused_class():
    with pytest.raises(
        UnsafePickleError, match=r"refers to posix\.system, .* was not executed; .*trust_pickle=True"
    ):
        load_pickle(pickle.dumps(Malicious(os.system, "true")))


def test_pickle_cannot_change_functions():
    """The opcode BUILD with a state for slots sets attributes, even those of functions and classes."""
    function = b"\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93"
    poison = b"\x80\x04" + function + b"N}\x8c\x0c__defaults__\x8c\x01x\x85s\x86b."
    load_pickle(poison)
    tensor = torch.arange(3)
    assert torch.equal(load_pickle(pickle.dumps(tensor)), tensor)
    assert torch._utils._rebuild_tensor_v2.__defaults__ != ("x",)
    with pytest.raises(ValueError, match="not a readable pickle"):
        load_pickle(b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93N}\x8c\x01a\x8c\x01x\x85s\x86b.")


def test_tensor_beyond_storage_raises():
    tensor = torch.arange(4.0)
    storage = pickle.loads(pickle.dumps(Malicious(torch.storage._load_from_bytes, storage_bytes(tensor))))
    for size, stride, offset in (((5,), (1,), 0), ((2,), (4,), 0), ((1,), (1,), 4), ((2,), (-1,), 3)):
        data = pickle.dumps(
            Malicious(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())
        )
        with pytest.raises(ValueError, match="does not fit into a storage of 4 numbers"):
            load_pickle(data)


def storage_bytes(tensor):
    buffer = io.BytesIO()
    torch.save(
        torch.TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True),
        buffer,
        _use_new_zipfile_serialization=False,
    )
    return buffer.getvalue()


def test_trust_runs_pickle(tmp_path):
    load_pickle(pickle.dumps(Malicious(os.mkdir, str(tmp_path / "made"))), trust=True)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("data", [b"", b"\x80", b"not a pickle", pickle.dumps([1, 2, 3])[:-3]])
def test_damaged_pickle_raises(data):
    with pytest.raises(ValueError, match="is not a readable pickle"):
        load_pickle(data)


def test_dates_keep_their_zone():
    date = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)
    assert load_pickle(pickle.dumps(date)) == date
