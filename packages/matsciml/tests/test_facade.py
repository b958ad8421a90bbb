"""The older toolkit's paths: which names there are, that they are ours, and what is said of the others."""

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
from matsciml._not_here import NOT_HERE

FROZEN = Path(__file__).parents[1] / "public_names.toml"
DOCUMENTED = Path(__file__).parents[3].parent / "shared" / "documented_names.md"
FACADE = ("common", "datasets", "interfaces", "lightning", "models")
OURS = ("mml_data", "mml_diagnostics", "mml_distributed", "mml_graphs", "mml_models", "mml_tasks", "mml_xpu")


def modules():
    found = (module.name for module in pkgutil.walk_packages(matsciml.__path__, "matsciml."))
    return sorted(name for name in found if name.split(".")[1] in FACADE)


def test_the_names_are_those_that_are_frozen():
    frozen = tomllib.loads(FROZEN.read_text(encoding="utf-8"))
    assert {name: sorted(importlib.import_module(name).__all__) for name in modules()} == frozen


@pytest.mark.parametrize("module", modules())
def test_names_are_the_objects_of_our_packages(module):
    here = importlib.import_module(module)
    assert here.__doc__
    for name in here.__all__:
        value = getattr(here, name)
        if inspect.ismodule(value):
            assert value.__name__ == f"{module}.{name}"
            continue
        package = value.__module__.partition(".")[0]
        assert package in OURS or value.__module__ == "matsciml.runs.trained", name  # what needs two of them
        origin = importlib.import_module(value.__module__)
        assert getattr(origin, value.__name__) is value


@pytest.mark.parametrize("name", NOT_HERE)
def test_what_is_not_here_says_what_there_is(name):
    module, _, attribute = name.rpartition(".")
    message = rf"^{re.escape(name)} of the older toolkit is not here; the nearest thing is "
    with pytest.raises(ImportError, match=message):
        getattr(importlib.import_module(module), attribute)
    with pytest.raises(ImportError, match=message):
        exec(f"from {module} import {attribute}", {})


def test_what_is_said_to_be_there_is_there():
    for text in NOT_HERE.values():
        for path in re.findall(r"\b(?:mml_\w+|pytorch_lightning)(?:\.\w+)+", text):
            module, _, attribute = path.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), path


def test_names_that_nobody_knows_are_attribute_errors():
    for module in modules():
        if hasattr(importlib.import_module(module), "__getattr__"):
            assert not hasattr(importlib.import_module(module), "no_such_name")


def documented():
    """Return module and name of everything that the older toolkit documents."""
    if not DOCUMENTED.is_file():
        return []
    found = []
    for line in DOCUMENTED.read_text(encoding="utf-8").splitlines():
        match = re.match(r"- `(matsciml\.[\w.]+)", line)
        if match:
            parts = match[1].split(".")
            # A method is known by its class, which is the first part with a capital letter.
            first = next((i for i, part in enumerate(parts) if part[0].isupper()), len(parts) - 1)
            found.append(".".join(parts[: first + 1]))
    return sorted(set(found))


@pytest.mark.skipif(not DOCUMENTED.is_file(), reason="the shared list of names is not beside this checkout")
def test_every_documented_name_is_here_or_says_what_there_is():
    assert len(documented()) > 70
    for path in documented():
        module, _, name = path.rpartition(".")
        try:
            assert getattr(importlib.import_module(module), name) is not None
        except ImportError as error:
            said = str(error)
        else:
            continue
        assert path in NOT_HERE, path
        assert "the nearest thing is" in said


def test_a_library_that_is_missing_is_named_with_how_to_get_it():
    code = (
        "import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *rest: None if name == 'ase' else find(name, *rest); "
        "import matsciml.interfaces.ase"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=False)
    assert b"needs ASE: pip install 'matsciml[ase]'" in done.stderr


def test_importing_matsciml_imports_no_facade():
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
"""Arguments that the older toolkit documents and that are refused here: docs/migration.md says why."""


def documented_arguments():
    """Yield path and names of arguments of everything that is documented with some."""
    for line in DOCUMENTED.read_text(encoding="utf-8").splitlines() if DOCUMENTED.is_file() else ():
        if match := re.match(r"- `(matsciml\.[\w.]+)\((.*)\)`$", line.strip()):
            # Defaults hold commas, too: a name stands outside of brackets.
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
    """Return the arguments of a function or class, with those that it hands on to its bases."""
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


@pytest.mark.skipif(not DOCUMENTED.is_file(), reason="the shared list of names is not beside this checkout")
def test_documented_arguments_are_accepted():
    listed = list(documented_arguments())
    assert len(listed) > 40
    refused = {}
    for path, names in listed:
        if not any(path == known or path.startswith(f"{known}.") for known in NOT_HERE):
            try:
                missing = names - accepted(found(path))
            except ImportError:  # of what is below a name that is not here
                continue
            if missing:
                refused[path] = missing
    assert refused == NOT_TAKEN
