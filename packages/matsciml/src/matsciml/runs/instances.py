"""Create objects that a YAML file describes by `class_path` and `init_args`."""

from __future__ import annotations

import importlib
from typing import Any


def instantiate(item: object, place: str) -> Any:
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
    described: dict[str, Any] = item if isinstance(item, dict) else {}
    path = described.get("class_path")
    module, _, name = str(path or "").rpartition(".")
    if not module:
        raise ValueError(
            f"{place}: {item!r} does not describe a transform; expected a mapping with class_path and, "
            "if the transform has arguments, init_args"
        )
    try:
        return getattr(importlib.import_module(module), name)(**(described.get("init_args") or {}))
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"{place}: {path}: {error}") from error
