"""Recipes: the options of an import in a file, from which the import can be repeated.

A recipe is a YAML file with the names and values of the options of `mml_data.convert.import_source`. The
manifest of an imported data set contains the recipe of the import, so a data set is a recipe, too. Relative
paths are relative to the folder of the recipe.
"""

import os
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mml_data.importers.source import existing
from mml_data.store.manifest import MANIFEST_FILE, Manifest

__all__ = ["accepts_recipe", "call_text", "read_recipe", "used_options"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_NOT_IN_RECIPES = ("about", "jobs", "overwrite", "progress", "recipe", "resume", "scheduler")
_PATHS = ("source", "train", "valid", "test", "labels")


def accepts_recipe(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Add the options of a recipe to a call of an import function. Options of the call take precedence."""
    names = ["source", *_options(function)]

    @wraps(function)
    def with_recipe(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        given: dict[str, Any] = dict(signature(function).bind(*args, **kwargs).arguments)
        recipe = given.get("recipe")
        if recipe is not None:
            found = read_recipe(recipe, names)
            if given.get("source") is not None or any(given.get(name) for name in ("train", "valid", "test")):
                found = {name: value for name, value in found.items() if name not in _PATHS[:-1]}
            source = found.pop("source", None)
            if given.get("source") is None:
                given["source"] = source
            given = {**found, **given}
        return function(**given)  # type: ignore[call-arg]

    return with_recipe


def read_recipe(path: str | Path, names: Collection[str]) -> dict[str, Any]:
    """Read the options of a recipe.

    Parameters
    ----------
    path
        YAML file, or a data set or the manifest of a data set.
    names
        Names of the options.

    Returns
    -------
    dict
        Name of an option to its value. Relative paths are joined to the folder of the recipe.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If the file is not a recipe, or if it contains an unknown option. The message suggests a similar one.
    """
    path = existing(path)
    if path.name == MANIFEST_FILE:
        path = path.parent
    if path.is_dir():
        content = Manifest.read(path).source.get("recipe")
        if content is None:
            raise ValueError(f"data set {str(path)!r} contains no recipe; import it again to record one")
        folder = path
    else:
        content, folder = _read_yaml(path), path.parent
    if not isinstance(content, Mapping):
        raise ValueError(f"recipe {str(path)!r} must map options to values, got {type(content).__name__}")
    options: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in names:
            close = get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"the options are {', '.join(names)}"
            raise ValueError(f"recipe {str(path)!r} contains the unknown option {key!r}; {hint}")
        if name in _PATHS and value is not None:
            value = [str(folder / each) for each in value] if isinstance(value, list) else str(folder / value)
        options[name] = value
    return options


def used_options(
    function: Callable[..., object], given: Mapping[str, Any], folder: str | Path
) -> dict[str, Any]:
    """Return the options of a call that affect the data and differ from the defaults, for the manifest.

    Relative paths become relative to `folder`. Absolute paths outside the parent of `folder` are shortened to
    their last component, because they are specific to this machine.

    Parameters
    ----------
    function
        Import function.
    given
        Arguments of the call.
    folder
        Directory of the data set.
    """
    defaults = {"source": None, **_options(function)}
    options: dict[str, Any] = {}
    for name, default in defaults.items():
        value = _plain(given[name])
        if value == _plain(default):
            continue
        if name in _PATHS:
            paths = value if isinstance(value, list) else [value]
            value = [_relative(Path(each), Path(folder)) for each in paths]
            value = value if len(value) > 1 else value[0]
        options[name] = value
    return options


def call_text(function: Callable[..., object], given: Mapping[str, Any]) -> str:
    """Return the source code of the call of an import function with these arguments.

    Arguments that do not affect the data are left out, as are the directories of absolute paths, because they
    are specific to this machine.
    """
    arguments = [_shown(given[name], is_path=True) for name in ("source", "dest")]
    for name, default in _options(function).items():
        if _plain(given[name]) != _plain(default):
            arguments.append(f"{name}={_shown(given[name], is_path=name in _PATHS)}")
    return f"mml_data.convert.{function.__name__}({', '.join(arguments)})"


def _shown(value: Any, *, is_path: bool) -> str:
    """Return a value as source code."""
    if isinstance(value, Path) or (is_path and isinstance(value, str)):
        return repr(Path(value).name if Path(value).is_absolute() else str(value))
    if callable(value):
        return getattr(value, "__name__", "custom")
    if isinstance(value, Mapping):
        return repr(dict(value))
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    return f"[{', '.join(_shown(each, is_path=is_path) for each in value)}]"


def _options(function: Callable[..., object]) -> dict[str, Any]:
    """Return the names and defaults of the options that a recipe can contain."""
    return {
        name: parameter.default
        for name, parameter in signature(function).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY and name not in _NOT_IN_RECIPES
    }


def _read_yaml(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"recipe {str(path)!r} is not valid YAML: {error}") from error


def _relative(path: Path, folder: Path) -> str:
    folder = folder.absolute()
    if path.is_absolute() and not path.is_relative_to(folder.parent):
        return path.name
    return Path(os.path.relpath(path.absolute(), folder)).as_posix()


def _plain(value: Any) -> Any:
    """Return a value as built-in types that JSON and YAML can contain."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    if callable(value):
        return getattr(value, "__name__", "custom")
    return [_plain(each) for each in value]
