"""The packages of this workspace: their mutual requirements, and the packages that a change can break."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Files that all packages are built or tested with.
COMMON = ("pyproject.toml", "uv.lock", "LICENSE", "tools/", ".ci/", ".github/")


def read_projects(root: Path) -> dict[str, dict[str, Any]]:
    """Return the parsed `pyproject.toml` of each package in a tree, by the name of the package."""
    found = (tomllib.loads(p.read_text(encoding="utf-8")) for p in root.glob("packages/*/pyproject.toml"))
    return {project["project"]["name"]: project for project in found}


def siblings(projects: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the siblings that each package requires, including those of its extras and tests.

    Parameters
    ----------
    projects
        The parsed `pyproject.toml` of each package, by the package's name.
    """
    found = {}
    for name, project in projects.items():
        table = project["project"]
        groups = [
            table.get("dependencies", []),
            *table.get("optional-dependencies", {}).values(),
            *project.get("dependency-groups", {}).values(),
        ]
        wanted = {
            re.split(r"[^\w.-]", line, maxsplit=1)[0]
            for group in groups
            for line in group
            if isinstance(line, str)
        }
        found[name] = (wanted & projects.keys()) - {name}
    return found


def release_order(wants: Mapping[str, set[str]]) -> list[str]:
    """Return the packages in an order in which each follows all of its requirements, otherwise by name.

    Raises
    ------
    ValueError
        If packages require each other in a circle.
    """
    order: list[str] = []
    while len(order) < len(wants):
        ready = sorted(name for name in wants if name not in order and wants[name] <= set(order))
        if not ready:
            raise ValueError(
                f"these packages require each other in a circle: {sorted(wants.keys() - set(order))}"
            )
        order += ready
    return order


def reached(package: str, wants: Mapping[str, set[str]]) -> set[str]:
    """Return the direct and indirect requirements of a package, without the package."""
    found: set[str] = set()
    for name in reversed(release_order(wants)):
        if name == package or name in found:
            found |= wants[name]
    return found


def affected(paths: Iterable[str], wants: Mapping[str, set[str]]) -> list[str]:
    """Return the packages that a change of some files can break, in release order.

    Parameters
    ----------
    paths
        The changed files, relative to the root, with `/` between folders.
    wants
        The siblings that each package requires, see `siblings`.
    """
    paths = list(paths)
    if any(
        path == common or (common.endswith("/") and path.startswith(common))
        for path in paths
        for common in COMMON
    ):
        return release_order(wants)
    folders = {parts[1] for path in paths if (parts := path.split("/"))[0] == "packages" and len(parts) > 2}
    # The folder of a removed package matches none, but uv.lock has changed as well.
    hit = folders & wants.keys()
    for name in release_order(wants):
        if wants[name] & hit:
            hit.add(name)
    return [name for name in release_order(wants) if name in hit]
