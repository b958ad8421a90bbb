import math
import warnings

import pytest
from mml_samples import optional_module


def test_installed_module_is_returned():
    assert optional_module("math", "mml-graphs[pyg]", "arithmetic") is math


def test_missing_module_names_install_command():
    message = (
        r'^the backend needs no_such_library, which cannot be imported .*pip install "mml-graphs\[none\]"$'
    )
    with pytest.raises(ImportError, match=message):
        optional_module("no_such_library", "mml-graphs[none]", "the backend")


def test_only_the_deprecation_of_torch_jit_is_ignored(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "module_that_warns.py").write_text(
        "import warnings\n"
        "warnings.warn('`torch.jit.script` is deprecated.', FutureWarning)\n"
        "warnings.warn('anything else', FutureWarning)\n"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optional_module("module_that_warns", "none", "this test")
    assert [str(warning.message) for warning in caught] == ["anything else"]
