"""Describe transforms, and compute a fingerprint that shows whether two lists of transforms are the same."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

__all__ = ["describe_transforms", "fingerprint"]


def describe_transforms(transforms: Iterable[Any]) -> list[dict[str, object]]:
    """Describe each transform by its class or function, the version of its package, and its options.

    Parameters
    ----------
    transforms
        Instances of classes, whose attributes are their options, or functions of a module.

    Returns
    -------
    list
        For each transform, a dict with ``name``, ``version`` and, for an instance, ``options``.

    Raises
    ------
    ValueError
        If a transform cannot be identified: if it is a lambda function or a function defined within another
        function, or if an option is neither plain data nor an object that can itself be described.
    """
    return [_describe(transform, type(transform).__name__) for transform in transforms]


def fingerprint(transforms: Iterable[Any]) -> str:
    """Return the sha256 of the output of `describe_transforms`, in hexadecimal digits."""
    text = json.dumps(describe_transforms(transforms), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _describe(value: object, where: str) -> dict[str, object]:
    if isinstance(value, partial):
        options = {"arguments": value.args, "keywords": value.keywords}
        return _describe(value.func, where) | {"options": _plain(options, where)}
    described = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    name, module = getattr(described, "__qualname__", "?"), getattr(described, "__module__", None) or "?"
    if "<" in name:
        raise ValueError(
            f"{where}: the name {module}.{name} does not identify a transform, because other functions may "
            "have it; use a function or class at the top level of a module"
        )
    package = sys.modules.get(module.partition(".")[0])
    about: dict[str, object] = {
        "name": f"{module}.{name}",
        "version": str(getattr(package, "__version__", "")),
    }
    if described is value:
        return about
    options = {key: _plain(item, f"{where}.{key}") for key, item in sorted(vars(value).items())}
    return about | {"options": options}


def _plain(value: object, where: str) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "values": value.tolist()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, where) for item in value), key=repr)
    if callable(value) or hasattr(value, "__dict__"):
        return _describe(value, where)
    raise ValueError(
        f"{where} is a {type(value).__name__}, which cannot be compared with a stored description; use "
        "plain data"
    )
