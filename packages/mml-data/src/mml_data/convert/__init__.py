"""Make data sets from files of structures."""

from mml_data.convert.jsonl import import_jsonl
from mml_data.convert.source import import_source

__all__ = ["import_jsonl", "import_source"]
