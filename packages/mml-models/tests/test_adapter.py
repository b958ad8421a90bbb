from __future__ import annotations

import mml_models
import pytest
from mml_models.adapters.adapter import Adapter


class MissingLibrary(Adapter):
    library = "no_such_library"
    extra = "nonet"


class InstalledLibrary(Adapter):
    library = "mml_models"


def test_module_of_library_is_imported():
    assert InstalledLibrary.import_module("schnet") is mml_models.schnet


def test_missing_library_names_class_and_command():
    with pytest.raises(ImportError, match=r"^MissingLibrary needs .*pip install \"mml-models\[nonet\]\"$"):
        MissingLibrary.import_module("models")


def test_dependency_has_no_extra():
    class MissingDependency(Adapter):
        library = "no_such_library"

    with pytest.raises(ImportError, match=r"pip install \"?mml-models\"?$"):
        MissingDependency.import_module("models")
