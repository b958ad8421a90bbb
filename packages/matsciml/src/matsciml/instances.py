"""Objects that a YAML file describes by `class_path` and `init_args`."""

from __future__ import annotations

import importlib
from typing import Any


def instantiate(item: Any, place: str) -> Any:
    """Return the object that ``{"class_path": ..., "init_args": {...}}`` describes.

    Parameters
    ----------
    item
        As it was read from YAML.
    place
        Where it was read; named in errors.

    Raises
    ------
    ValueError
        If it describes nothing, or what it describes cannot be made.
    """
    path = item.get("class_path") if isinstance(item, dict) else None
    module, _, name = str(path or "").rpartition(".")
    if not module:
        raise ValueError(
            f"{place}: {item!r} is no transform: give class_path, and init_args where it has some"
        )
    try:
        return getattr(importlib.import_module(module), name)(**(item.get("init_args") or {}))
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"{place}: {path}: {error}") from error
