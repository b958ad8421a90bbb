"""Create objects that a YAML file describes by `class_path` and `init_args`."""

from __future__ import annotations

import importlib
from typing import Any


def instantiate(item: Any, place: str) -> Any:
    """Create the object described by ``{"class_path": ..., "init_args": {...}}``.

    Parameters
    ----------
    item
        Description of the object, as read from YAML.
    place
        Source of the description, for error messages.

    Raises
    ------
    ValueError
        If `item` has no valid class path, or the object cannot be created.
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
