"""Sphinx configuration, and two things of our own: the table of the older toolkit's names, and a check.

Every public name of our packages must be in the reference: the build fails where one is not.
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
# The tutorials run when the docs are built; an error in a cell, or a word on stderr, fails the build.
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 900
nb_merge_streams = True
nb_output_stderr = "remove-warn"
os.environ["OMP_NUM_THREADS"] = "1"  # on a busy machine, threads wait for each other
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm would like to draw widgets in notebooks
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
    """The names that the older toolkit documented, each with what it is here."""

    def run(self) -> list[nodes.Node]:
        """Return the table, made of the frozen names and of those that are not here."""
        rows = {(module, name): f"{{py:obj}}`{_origin(module, name)}`" for module, name in _names()}
        for module, names in MISSING_NAMES.items():
            for name, instead in names.items():
                rows[module, name] = f"not available; {instead}"
        lines = []
        for module in sorted({module for module, _ in rows}):
            lines += ["", f"`{module}`", "", "| name | what it is |", "|---|---|"]
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
    """Return where our packages have it: at their top, if it is public there."""
    value = getattr(importlib.import_module(module), name)
    top = f"{value.__module__.partition('.')[0]}.{value.__name__}"
    return top if top in PUBLIC else f"{value.__module__}.{value.__name__}"


def load_lazy_names() -> None:
    """Put names that are imported on first use where autodoc sees them."""
    for path in PUBLIC:
        package, _, name = path.rpartition(".")
        module = importlib.import_module(package)
        setattr(module, name, getattr(module, name))


def check_reference(app: Sphinx, error: Exception | None) -> None:
    """Fail where the reference lacks a public name."""
    if error is None and app.builder.name == "html":
        described = {name for name, *_ in app.env.get_domain("py").get_objects()}
        if missing := sorted(PUBLIC - described):
            raise ExtensionError(f"docs/reference.md lacks {', '.join(missing)}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is ours."""
    load_lazy_names()
    app.add_directive("old-names", OldNames)
    app.connect("build-finished", check_reference)
    return {"parallel_read_safe": True}
