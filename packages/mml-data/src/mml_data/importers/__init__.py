"""Read structures from files of many formats, and import them as a data set."""

__all__ = ["account", "import_source", "legacy_readers", "read_structures", "source", "write_parts"]
