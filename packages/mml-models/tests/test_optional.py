from __future__ import annotations

import subprocess
import sys

import pytest
from mml_models.optional import import_library, is_installed


def test_missing_library_names_install_command():
    with pytest.raises(
        ImportError, match=r"^NoNet needs no_such_library.*pip install \"mml-models\[nonet\]\"$"
    ):
        import_library("no_such_library.models", "NoNet", "nonet")
    assert not is_installed("no_such_library")


def test_import_restores_environment(tmp_path):
    (tmp_path / "rude_library.py").write_text(
        "import os\nos.environ['RUDE'] = '1'\nos.environ['TERM'] = 'rude'\nos.environ.pop('KEPT')\n"
    )
    code = (
        "import os\n"
        "os.environ.update(KEPT='1', TERM='dumb')\n"
        "from mml_models.optional import import_library\n"
        "assert import_library('rude_library', 'Test').os is os\n"
        "assert 'RUDE' not in os.environ and os.environ['TERM'] == 'dumb' and os.environ['KEPT'] == '1'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
