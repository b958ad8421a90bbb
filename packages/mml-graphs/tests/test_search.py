import sys

import numpy as np
import pytest
from mml_graphs._optional import optional_module
from mml_graphs.neighbors import find_edges
from mml_graphs.search import VESIN_FROM, choose_backend


def test_auto_takes_vesin_for_large_and_for_sparse_structures():
    dense = np.zeros((VESIN_FROM - 1, 3))
    assert choose_backend(dense, 5.0) == "pymatgen"
    assert choose_backend(np.zeros((VESIN_FROM, 3)), 5.0) == "vesin"
    assert choose_backend(np.array([[0.0, 0, 0], [1e4, 1e4, 1e4]]), 5.0) == "vesin"


def test_a_missing_backend_says_how_to_install_it(monkeypatch):
    optional_module.cache_clear()
    monkeypatch.setitem(sys.modules, "ase.neighborlist", None)
    with pytest.raises(
        ImportError, match=r'backend \'ase\' needs ase.*python -m pip install "mml-graphs\[ase\]"'
    ):
        find_edges(np.zeros((1, 3)), np.eye(3) * 3, (True,) * 3, 3.0, "ase")
