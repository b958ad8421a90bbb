"""Convert arguments that may be classes to import paths and back, so that checkpoints can store them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch

T = TypeVar("T")


def import_class(path: str, argument: str, base: type[T], default_module: str | None = None) -> type[T]:
    """Import a class from its path.

    Parameters
    ----------
    path
        ``package.module.Class``, or a bare class name if ``default_module`` is given.
    argument
        Name of the argument that contained the path, for error messages.
    base
        Required base class.
    default_module
        Module that defines classes with bare names.

    Raises
    ------
    ValueError
        If the module or class does not exist, or the class does not derive from ``base``.
    """
    module_name, _, name = path.rpartition(".")
    module_name = module_name or default_module or ""
    if not module_name:
        raise ValueError(f"{argument}={path!r} is not an import path. Write it as package.module.Class")
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"{argument}={path!r} cannot be imported: {error}") from None
    if not isinstance(found, type):
        raise ValueError(f"{argument}={path!r} is not a class, because {module_name} has no class {name!r}")
    if not issubclass(found, base):
        raise ValueError(f"{argument}={path!r} must derive from {class_path(base)}")
    return found


def class_path(cls: type) -> str:
    """Return the path with which `import_class` imports ``cls``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def save_arguments(module: pl.LightningModule, **arguments: object) -> None:
    """Save the arguments that a checkpoint can store; under LightningCLI, save its complete config."""
    try:
        module.save_hyperparameters("_instantiator")  # only LightningCLI passes this argument
    except KeyError:
        module.save_hyperparameters({name: plain(value, name) for name, value in arguments.items()})
    else:
        module.save_hyperparameters()


def plain(value: Any, argument: str) -> Any:
    """Return ``value`` with classes replaced by their paths, so that a checkpoint loads without code.

    Raises
    ------
    TypeError
        If an item is not a number, string, class, dtype, tensor, array, or a container of these.
    """
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor, torch.dtype)):
        return value
    if isinstance(value, type):
        return class_path(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item, f"{argument}[{name!r}]") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{argument}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "tolist") and hasattr(value, "ndim"):  # NumPy arrays and scalars
        return value.tolist()
    raise TypeError(
        f"{argument} is a {class_path(type(value))}, which cannot be saved in a checkpoint. Pass numbers, "
        "strings, import paths or containers of these, or pass a finished encoder as encoder="
    )
