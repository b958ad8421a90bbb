"""Read structures from files of many formats, and import them as a data set."""

__all__ = [
    "account",
    "formats",
    "import_source",
    "label_names",
    "legacy_readers",
    "read_structures",
    "registry",
    "source",
    "write_parts",
]
