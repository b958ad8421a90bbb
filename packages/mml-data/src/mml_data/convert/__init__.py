"""Make data sets from files of structures."""

from mml_data.convert.import_source import import_source
from mml_data.convert.legacy_readers import READERS as LEGACY_READERS

__all__ = ["LEGACY_READERS", "import_source"]
