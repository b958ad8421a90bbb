"""Parse release targets, and extract release notes from the changelog or from its fragments."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from packaging.version import InvalidVersion, Version


class ReleaseError(Exception):
    """Reason why a package cannot be released. The message contains the remedy."""


class Release(NamedTuple):
    """The package and version to release."""

    package: str
    version: str
    tagged: bool  # whether the target was a tag, which requires a complete changelog


def parse_target(target: str, versions: Mapping[str, str]) -> Release:
    """Return the release that a package's name or a tag stands for.

    Parameters
    ----------
    target
        `mml-graphs` or `mml-graphs-v0.2.0`.
    versions
        The version of each package in the tree.

    Raises
    ------
    ReleaseError
        If the package does not exist, or the tree has another version of it.
    """
    if target in versions:
        return Release(target, versions[target], tagged=False)
    package, separator, version = target.rpartition("-v")
    if not separator or package not in versions:
        raise ReleaseError(
            f"{target!r} is neither a package nor a tag such as mml-graphs-v0.2.0. The packages are "
            f"{', '.join(sorted(versions))}."
        )
    try:
        normal = str(Version(version))
    except InvalidVersion:
        raise ReleaseError(f"tag {target}: {version!r} is not a version (PEP 440)") from None
    if normal != version:
        raise ReleaseError(f"tag {target}: version {version!r} is not normalized. Write it as {normal!r}.")
    if version != versions[package]:
        raise ReleaseError(
            f"tag {target}, but packages/{package}/pyproject.toml has version {versions[package]}. Use the "
            f"tag {package}-v{versions[package]}, or run `uv version --package {package} {version}`."
        )
    return Release(package, version, tagged=True)


def cut_notes(changelog: str, version: str) -> str | None:
    """Return the section of a version in a changelog, without its heading, or None if it is missing."""
    section = re.search(
        rf"^## {re.escape(version)} \([^\n]*\)\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE
    )
    return section[1].strip() + "\n" if section else None


def release_notes(root: Path, release: Release) -> str:
    """Return the notes of a release without changing any file under `root`.

    For a tag, they come from the changelog. Without a tag, they are built from a copy of the fragments, or
    from the section of the changelog for the version if the package has no fragments.

    Parameters
    ----------
    root
        The root of the workspace.
    release
        The package and version.

    Raises
    ------
    ReleaseError
        If a tag precedes the changelog, the name of a fragment is invalid, or the notes are empty.
    """
    package = root / "packages" / release.package
    fragments = sorted(path.name for path in (package / "changelog.d").glob("[!.]*"))
    written = cut_notes((package / "CHANGELOG.md").read_text(encoding="utf-8"), release.version)
    where = f"packages/{release.package}"
    if release.tagged and (written is None or fragments):
        raise ReleaseError(
            f"{where}/CHANGELOG.md has {'no' if written is None else 'a'} section for {release.version}, and "
            f"changelog.d has {', '.join(fragments) or 'no fragment'}. Run `uv run towncrier build --config "
            f"pyproject.toml --dir {where} --version {release.version}`, commit, and tag that commit."
        )
    if fragments:
        return _from_fragments(root, release)
    if written is None:
        raise ReleaseError(
            f"{where}/changelog.d has no fragment, and CHANGELOG.md no section for {release.version}. "
            "Describe the change for users in a file such as changelog.d/8.added.md."
        )
    return written


def _from_fragments(root: Path, release: Release) -> str:
    """Build the changelog in a copy, and extract the notes."""
    package = root / "packages" / release.package
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "package"
        shutil.copytree(package / "changelog.d", copy / "changelog.d")
        shutil.copy(root / "pyproject.toml", folder)
        (copy / "CHANGELOG.md").write_text("<!-- towncrier release notes start -->\n", encoding="utf-8")
        date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        command = [
            sys.executable,
            "-m",
            "towncrier",
            "build",
            "--config",
            "pyproject.toml",
            "--dir",
            "package",
        ]
        command += ["--version", release.version, "--date", date, "--yes"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ReleaseError(
                f"packages/{release.package}/changelog.d: towncrier failed: {done.stderr.strip()}"
            )
        made = cut_notes((copy / "CHANGELOG.md").read_text(encoding="utf-8"), release.version)
    if made is None:
        raise ReleaseError(
            "towncrier must write headings of the form '## VERSION (DATE)' to extract the notes. "
            "Fix its title_format in the pyproject.toml of the workspace."
        )
    return made
