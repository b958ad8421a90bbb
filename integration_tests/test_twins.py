"""Files that several packages contain because these packages must not import each other."""

import ast

import pytest
from support import ROOT


def definitions(package):
    """Return the source of every function, class and constant of a package's `_lightning.py`."""
    path = ROOT / "packages" / package / "src" / package.replace("-", "_") / "_lightning.py"
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = ast.unparse(node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.unparse(node)
    found.pop("__all__", None)
    return found


def test_lightning_twins_are_equal():
    assert definitions("mml-xpu") == definitions("mml-distributed")


@pytest.mark.parametrize("name", ["LIGHTNINGS", "PACKAGE", "installed"])
def test_diagnostics_finds_lightning_like_twins(name):
    assert definitions("mml-diagnostics")[name] == definitions("mml-xpu")[name]
