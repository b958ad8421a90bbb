import math

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
