"""The import paths of the older toolkit and their names."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import matsciml
import pytest
from matsciml._missing_names import MISSING_NAMES

FROZEN = Path(__file__).parents[1] / "public_names.toml"
DOCUMENTED = Path(__file__).parents[3].parent / "shared" / "documented_names.md"
FACADE = ("common", "datasets", "interfaces", "lightning", "models")
OURS = ("mml_data", "mml_diagnostics", "mml_distributed", "mml_graphs", "mml_models", "mml_tasks", "mml_xpu")


MISSING = [f"{module}.{name}" for module, names in MISSING_NAMES.items() for name in names]


def modules():
    files = {module.name for module in pkgutil.walk_packages(matsciml.__path__, "matsciml.")}
    return sorted(name for name in files | set(MISSING_NAMES) if name.split(".")[1] in FACADE)


def test_names_equal_frozen_names():
    frozen = tomllib.loads(FROZEN.read_text(encoding="utf-8"))
    assert {name: sorted(importlib.import_module(name).__all__) for name in modules()} == frozen


@pytest.mark.parametrize("module", modules())
def test_names_are_objects_of_packages(module):
    here = importlib.import_module(module)
    assert here.__doc__
    for name in here.__all__:
        value = getattr(here, name)
        if inspect.ismodule(value):
            assert value.__name__ == f"{module}.{name}"
            continue
        package = value.__module__.partition(".")[0]
        assert package in OURS or value.__module__ == "matsciml.runs.trained", name  # it needs two packages
        origin = importlib.import_module(value.__module__)
        assert getattr(origin, value.__name__) is value


def documented():
    """Return the paths of all names that the older toolkit documents."""
    if not DOCUMENTED.is_file():
        return []
    found = []
    for line in DOCUMENTED.read_text(encoding="utf-8").splitlines():
        match = re.match(r"- `(matsciml\.[\w.]+)", line)
        if match:
            parts = match[1].split(".")
            # A method is known by its class, the first part with a capital letter.
            first = next((i for i, part in enumerate(parts) if part[0].isupper()), len(parts) - 1)
            found.append(".".join(parts[: first + 1]))
    return sorted(set(found))


@pytest.mark.skipif(not DOCUMENTED.is_file(), reason="the list of documented names is missing")
def test_documented_names_import_or_name_replacement():
    assert len(documented()) > 70
    for path in documented():
        module, _, name = path.rpartition(".")
        try:
            assert getattr(importlib.import_module(module), name) is not None
        except ImportError as error:
            said = str(error)
        else:
            continue
        assert path in MISSING, path
        assert "the closest replacement is" in said


def test_import_loads_no_facade():
    code = (
        "import sys, matsciml; "
        f"sys.exit(any(name.split('.')[1:2] and name.split('.')[1] in {FACADE!r} "
        "for name in sys.modules if name.startswith('matsciml')))"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0


NOT_TAKEN = {
    "matsciml.common.types.Embeddings": {"reduction", "reduction_kwargs"},  # the encoder reduces
    "matsciml.datasets.SyntheticPointGroupDataset": {"max_types"},  # elements are as they were stored
    "matsciml.interfaces.ase.MatSciMLCalculator": {"multitask_strategy", "matsciml_model"},  # one task only
    "matsciml.models.TensorNet": {"element_types"},  # symbols; ours takes atomic numbers, as `elements`
    "matsciml.models.common.OutputHead": {"norm", "act_last", "block_type"},
    "matsciml.models.pyg.EGNN": {"pool_norm"},
}
"""Documented arguments of the older toolkit that are not accepted. docs/migration.md gives the reasons."""


def documented_arguments():
    """Yield the path and the argument names of all documented functions and classes with arguments."""
    for line in DOCUMENTED.read_text(encoding="utf-8").splitlines() if DOCUMENTED.is_file() else ():
        if match := re.match(r"- `(matsciml\.[\w.]+)\((.*)\)`$", line.strip()):
            # Defaults contain commas as well, but names are outside brackets.
            outside = re.sub(r"\([^()]*\)|\[[^][]*\]|\{[^{}]*\}|<[^<>]*>", "", match[2])
            names = [re.split(r"[=:]", part)[0].strip() for part in outside.split(",")]
            yield match[1], {name for name in names if name and not name.startswith("*")}


def found(path):
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            value = getattr(value, part)
        return value
    raise AssertionError(path)


def accepted(value):
    """Return the arguments of a function or class, including those that it passes to its base classes."""
    if not inspect.isclass(value):
        return set(inspect.signature(value).parameters)
    names = set()
    for base in inspect.getmro(value):
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters
            names |= set(parameters)
            if not any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
                break
    return names


@pytest.mark.skipif(not DOCUMENTED.is_file(), reason="the list of documented names is missing")
def test_documented_arguments_are_accepted():
    listed = list(documented_arguments())
    assert len(listed) > 40
    refused = {}
    for path, names in listed:
        if not any(path == known or path.startswith(f"{known}.") for known in MISSING):
            try:
                missing = names - accepted(found(path))
            except ImportError:  # a part of a missing name
                continue
            if missing:
                refused[path] = missing
    assert refused == NOT_TAKEN
