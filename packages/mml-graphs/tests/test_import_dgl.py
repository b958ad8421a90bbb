import os
import subprocess
import sys

import pytest
from mml_graphs.libraries.import_dgl import import_dgl
from mml_samples import optional_module


def test_missing_dgl_raises_with_install_command(monkeypatch):
    optional_module.cache_clear()
    import_dgl.cache_clear()
    monkeypatch.setitem(sys.modules, "dgl", None)
    message = r"the 'dgl' graph backend needs dgl 1\.1\.3.*Python 3\.11 .*pip install \"mml-graphs\[dgl\]\""
    with pytest.raises(ImportError, match=message):
        import_dgl()
    optional_module.cache_clear()
    import_dgl.cache_clear()


def test_import_prints_nothing_and_sets_nothing(dgl, tmp_path):
    code = (
        "import os; from mml_graphs.libraries.import_dgl import import_dgl; import_dgl(); "
        "print(os.environ.get('DGLBACKEND'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DGLBACKEND"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**environment, "HOME": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("None\n", "")
    assert not list(tmp_path.iterdir())
