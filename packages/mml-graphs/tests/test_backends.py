import sys

import numpy as np
import pytest
from mml_graphs.neighbors.backends import choose_backend
from mml_graphs.neighbors.find_edges import find_edges
from mml_graphs.neighbors.lattice import complete_cell
from mml_samples import optional_module


def test_auto_chooses_by_size():
    cube = complete_cell(np.eye(3) * 12.0, (True,) * 3)
    assert choose_backend(np.zeros((5, 3)), cube, 5.0) == "pymatgen"
    assert choose_backend(np.zeros((80, 3)), cube, 5.0) == "numpy"
    assert choose_backend(np.zeros((100_000, 3)), cube, 5.0) == "pymatgen"


def test_auto_chooses_vesin_if_sparse():
    molecule = complete_cell(None, (False,) * 3)
    assert choose_backend(np.array([[0.0, 0, 0], [1e4, 1e4, 1e4]]), molecule, 5.0) == "vesin"


def test_missing_backend_raises_with_install_command(monkeypatch):
    optional_module.cache_clear()
    monkeypatch.setitem(sys.modules, "ase.neighborlist", None)
    with pytest.raises(
        ImportError, match=r'backend \'ase\' needs ase.*python -m pip install "mml-graphs\[ase\]"'
    ):
        find_edges(np.zeros((1, 3)), np.eye(3) * 3, (True,) * 3, 3.0, "ase")
