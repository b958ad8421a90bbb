"""Imports have no cycles, and other wings import only the modules that a wing names."""

import ast
import importlib
from pathlib import Path

import grimp
import pytest
from support import ROOT

WINGED = {
    "mml_graphs": {"neighbors", "batches", "device", "libraries"},
    "mml_tasks": {"normalization", "losses", "weights", "tasks", "trainer"},
    "mml_data": {"importers", "store", "loading", "physics", "precompute"},
    "mml_models": {"layers"},
    "mml_diagnostics": {"non_finite", "spikes", "checks", "observers", "interveners"},
    "matsciml": {"commands", "report", "runs"},
}
PACKAGES = [
    path.name for path in sorted((ROOT / "packages").glob("*/src/*")) if (path / "__init__.py").is_file()
]


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def cycles(imports):
    """Return the groups of nodes that reach each other, found by Tarjan's algorithm."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in imports.get(node, ()):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in imports:
        if node not in number:
            visit(node)
    return found


def test_cycles_are_found():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}) == [["b", "c"]]


def test_modules_have_no_cycle(graph):
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert sum(map(len, imports.values())) > 500
    assert cycles(imports) == []


@pytest.mark.parametrize("package", WINGED)
def test_wings_have_no_cycle(graph, package):
    rooms = graph.find_children(package)
    assert WINGED[package] <= {room.rpartition(".")[2] for room in rooms}
    imports = {
        room: {
            other
            for other in rooms - {room}
            if graph.direct_import_exists(importer=room, imported=other, as_packages=True)
        }
        for room in rooms
    }
    assert cycles(imports) == []


@pytest.mark.parametrize(("package", "wing"), [(p, w) for p in WINGED for w in sorted(WINGED[p])])
def test_wing_is_entered_through_named_modules(graph, package, wing):
    inside = f"{package}.{wing}"
    entered = {
        imported.removeprefix(inside + ".")
        for module in graph.modules
        if not f"{module}.".startswith(f"{inside}.")
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.startswith(inside + ".")
    }
    named = importlib.import_module(inside).__all__
    assert entered == set(named)
    tree = ast.parse(Path(importlib.import_module(inside).__file__).read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
