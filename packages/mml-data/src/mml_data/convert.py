"""Import structure files as data sets: the public names of `mml_data.importers`."""

from mml_data.importers.account import show_account
from mml_data.importers.import_source import import_source
from mml_data.importers.legacy_readers import READERS as LEGACY_READERS
from mml_data.importers.read_structures import read_structures

__all__ = ["LEGACY_READERS", "import_source", "read_structures", "show_account"]
