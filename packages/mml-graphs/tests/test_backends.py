import sys

import numpy as np
import pytest
from mml_graphs.neighbors import backends, native
from mml_graphs.neighbors.find_edges import find_edges
from mml_samples import optional_module


@pytest.mark.parametrize(
    ("is_available", "is_installed", "expected"),
    [(True, True, "native"), (False, True, "pymatgen"), (False, False, "numpy")],
)
def test_auto_chooses_available_search(monkeypatch, is_available, is_installed, expected):
    monkeypatch.setattr(native, "available", lambda: is_available)
    monkeypatch.setattr(backends, "_is_installed", lambda name: is_installed)
    assert backends.choose_backend.__wrapped__() == expected


@pytest.mark.parametrize(
    ("backend", "module", "requirement"),
    [
        ("ase", "ase.neighborlist", r"mml-graphs\[ase\]"),
        ("vesin", "vesin", r"mml-graphs\[vesin\]"),
        ("pymatgen", "pymatgen.optimization.neighbors", r"mml-graphs\[pymatgen\]"),
    ],
)
def test_missing_backend_raises_with_install_command(monkeypatch, backend, module, requirement):
    backends._compiled_search.cache_clear()
    optional_module.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ImportError, match=f'backend .{backend}. needs .*python -m pip install "{requirement}"'
    ):
        find_edges(np.zeros((1, 3)), np.eye(3) * 3, (True,) * 3, 3.0, backend)


def test_missing_native_search_raises_with_remedy(monkeypatch):
    monkeypatch.setattr(native, "_module", lambda: None)
    monkeypatch.setattr(native, "why_not", lambda: "the search in C is missing")
    with pytest.raises(ImportError, match="neighbor backend 'native': the search in C is missing"):
        find_edges(np.zeros((1, 3)), np.eye(3) * 3, (True,) * 3, 3.0, "native")


def test_modules_of_missing_packages_are_not_installed():
    assert backends._is_installed("numpy.linalg")
    assert not backends._is_installed("numpy.no_such_module")
    assert not backends._is_installed("no_such_package.module")
