import sys

import pytest
from mml_graphs.libraries.import_pyg import pyg_data
from mml_samples import optional_module


def test_pyg_data_is_the_module():
    assert pyg_data().__name__ == "torch_geometric.data"


def test_missing_pyg_raises_with_install_command(monkeypatch):
    optional_module.cache_clear()
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with pytest.raises(ImportError, match=r'the \'pyg\' graph backend needs .*"mml-graphs\[pyg\]"'):
        pyg_data()
    optional_module.cache_clear()
