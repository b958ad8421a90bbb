"""Sphinx configuration, with a directive for the table of the older toolkit's names and a check.

The check fails the build if the reference lacks a public name of the packages.
"""

from __future__ import annotations

import importlib
import inspect
import os
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from matsciml._missing_names import MISSING_NAMES
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

project = "matsciml"
project_copyright = "2026, the matsciml developers"
author = "the matsciml developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "matsciml"
exclude_patterns = ["_build", "encoders-results.md"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # links to a section of another page, as in page.md#section
# The tutorials run when the docs are built. An error in a cell or any output on stderr fails the build.
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 900
nb_merge_streams = True
nb_output_stderr = "remove-warn"
os.environ["OMP_NUM_THREADS"] = "1"  # on a busy machine, threads would wait for each other
os.environ["PYTHONWARNINGS"] = (
    "ignore:IProgress not found"  # tqdm warns if it cannot draw widgets in notebooks
)
autodoc_typehints = "none"
napoleon_use_ivar = True
autodoc_member_order = "bysource"

PACKAGES = (
    *("mml_samples", "mml_graphs", "mml_data", "mml_models", "mml_tasks"),
    *("mml_xpu", "mml_distributed", "mml_diagnostics"),
)
PUBLIC = {
    f"{package}.{name}"
    for package in PACKAGES
    for name in importlib.import_module(package).__all__
    if not name.startswith("__")
}
NAMES = Path(__file__).parent.parent / "packages" / "matsciml" / "public_names.toml"


class OldNames(SphinxDirective):
    """Directive for the table of names that the older toolkit documented, with their current equivalents."""

    def run(self) -> list[nodes.Node]:
        """Return the table of the available and the unavailable names."""
        rows = {(module, name): f"{{py:obj}}`{_origin(module, name)}`" for module, name in _names()}
        for module, names in MISSING_NAMES.items():
            for name, instead in names.items():
                rows[module, name] = f"not available; {instead}"
        lines = []
        for module in sorted({module for module, _ in rows}):
            lines += ["", f"`{module}`", "", "| name | equivalent |", "|---|---|"]
            lines += [
                f"| `{name}` | {rows[key]} |" for key in sorted(rows) if (name := key[1]) and key[0] == module
            ]
        return self.parse_text_to_nodes("\n".join(lines))


def _names() -> list[tuple[str, str]]:
    frozen = tomllib.loads(NAMES.read_text(encoding="utf-8"))
    return [
        (module, name)
        for module, names in frozen.items()
        for name in names
        if not inspect.ismodule(getattr(importlib.import_module(module), name))
    ]


def _origin(module: str, name: str) -> str:
    """Return the path of an object: the top level of its package if it is public, otherwise its module."""
    value = getattr(importlib.import_module(module), name)
    top = f"{value.__module__.partition('.')[0]}.{value.__name__}"
    return top if top in PUBLIC else f"{value.__module__}.{value.__name__}"


def load_lazy_names() -> None:
    """Load the names that are imported on first use, so that autodoc finds them."""
    for path in PUBLIC:
        package, _, name = path.rpartition(".")
        module = importlib.import_module(package)
        setattr(module, name, getattr(module, name))


def check_reference(app: Sphinx, error: Exception | None) -> None:
    """Fail if the reference lacks a public name."""
    if error is None and app.builder.name == "html":
        described = {name for name, *_ in app.env.get_domain("py").get_objects()}
        if missing := sorted(PUBLIC - described):
            raise ExtensionError(f"docs/reference.md lacks {', '.join(missing)}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the check."""
    load_lazy_names()
    app.add_directive("old-names", OldNames)
    app.connect("build-finished", check_reference)
    return {"parallel_read_safe": True}
