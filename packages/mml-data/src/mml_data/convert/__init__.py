"""Import structure files as data sets."""

from mml_data.convert.import_source import import_source
from mml_data.convert.legacy_readers import READERS as LEGACY_READERS
from mml_data.convert.read_structures import read_structures

__all__ = ["LEGACY_READERS", "import_source", "read_structures"]
