import importlib
import re
import sys

import matsciml
import pytest
from matsciml._missing_names import MISSING_NAMES

MISSING = [f"{module}.{name}" for module, names in MISSING_NAMES.items() for name in names]


@pytest.mark.parametrize("name", MISSING)
def test_missing_name_names_replacement(name):
    module, _, attribute = name.rpartition(".")
    message = rf"^{re.escape(name)} of the older toolkit is not available; the closest replacement is "
    with pytest.raises(ImportError, match=message):
        getattr(importlib.import_module(module), attribute)
    with pytest.raises(ImportError, match=message):
        exec(f"from {module} import {attribute}", {})


def test_replacements_exist():
    for text in (text for names in MISSING_NAMES.values() for text in names.values()):
        for path in re.findall(r"\b(?:mml_\w+|pytorch_lightning)(?:\.\w+)+", text):
            module, _, attribute = path.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), path


def test_unknown_name_is_attribute_error():
    for module in MISSING_NAMES:
        assert not hasattr(importlib.import_module(module), "no_such_name")


def test_empty_modules_import_first(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matsciml" and "." in name]:
        monkeypatch.delitem(sys.modules, name)
    for name in {name.split(".")[1] for name in MISSING_NAMES}:
        monkeypatch.delattr(matsciml, name, raising=False)
    for name in sorted(MISSING_NAMES, reverse=True):  # matsciml.models.pyg.mace before matsciml.models.pyg
        module = importlib.import_module(name)
        parent, _, last = name.rpartition(".")
        assert getattr(sys.modules[parent], last) is module
