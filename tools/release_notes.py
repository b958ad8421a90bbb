"""What a release is called, and its notes: from the changelog, or from the fragments that it is made of."""

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
    """A reason why this cannot be released; the message says what to do."""


class Release(NamedTuple):
    """What is released."""

    package: str
    version: str
    tagged: bool  # is it asked for by its tag, so that the changelog must be ready?


def parse_target(target: str, versions: Mapping[str, str]) -> Release:
    """Return what a package's name or a tag asks for.

    Parameters
    ----------
    target
        `mml-graphs` or `mml-graphs-v0.2.0`.
    versions
        The version of each package in the tree.

    Raises
    ------
    ReleaseError
        Where there is no such package, or the tree has another version of it.
    """
    if target in versions:
        return Release(target, versions[target], tagged=False)
    package, separator, version = target.rpartition("-v")
    if not separator or package not in versions:
        raise ReleaseError(
            f"{target!r} is neither a package nor the tag of one (mml-graphs-v0.2.0): the packages are "
            f"{', '.join(sorted(versions))}"
        )
    try:
        normal = str(Version(version))
    except InvalidVersion:
        raise ReleaseError(f"tag {target}: {version!r} is not a version (PEP 440)") from None
    if normal != version:
        raise ReleaseError(f"tag {target}: write the version as {normal!r}")
    if version != versions[package]:
        raise ReleaseError(
            f"tag {target}, but packages/{package}/pyproject.toml has version {versions[package]}: tag "
            f"{package}-v{versions[package]}, or run `uv version --package {package} {version}` first"
        )
    return Release(package, version, tagged=True)


def cut_notes(changelog: str, version: str) -> str | None:
    """Return what a changelog says about a version, without the heading; None where it says nothing."""
    section = re.search(
        rf"^## {re.escape(version)} \([^\n]*\)\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE
    )
    return section[1].strip() + "\n" if section else None


def release_notes(root: Path, release: Release) -> str:
    """Return the notes of a release; nothing under `root` is changed.

    A tag's are those in the changelog. Without a tag they are made, in a copy, from the fragments; where
    there are none, they are those of the version in the changelog.

    Parameters
    ----------
    root
        The root of the workspace.
    release
        What is released.

    Raises
    ------
    ReleaseError
        Where a tag was made before the changelog was, a fragment's name is wrong, or there is nothing to say.
    """
    package = root / "packages" / release.package
    fragments = sorted(path.name for path in (package / "changelog.d").glob("[!.]*"))
    written = cut_notes((package / "CHANGELOG.md").read_text(encoding="utf-8"), release.version)
    where = f"packages/{release.package}"
    if release.tagged and (written is None or fragments):
        raise ReleaseError(
            f"{where}/CHANGELOG.md has {'no' if written is None else 'a'} section for {release.version}, and "
            f"changelog.d has {', '.join(fragments) or 'no fragment'}: run `uv run towncrier build --config "
            f"pyproject.toml --dir {where} --version {release.version}`, commit, and tag that commit"
        )
    if fragments:
        return _from_fragments(root, release)
    if written is None:
        raise ReleaseError(
            f"{where}/changelog.d has no fragment, and CHANGELOG.md no section for {release.version}: "
            "say what users notice in a file such as changelog.d/8.added.md"
        )
    return written


def _from_fragments(root: Path, release: Release) -> str:
    """Build the changelog in a copy, and cut the notes out of it."""
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
                f"packages/{release.package}/changelog.d: towncrier says: {done.stderr.strip()}"
            )
        made = cut_notes((copy / "CHANGELOG.md").read_text(encoding="utf-8"), release.version)
    if made is None:
        raise ReleaseError(
            "the root's pyproject.toml makes towncrier write headings that are not '## VERSION (DATE)': "
            "the notes cannot be cut from its changelog"
        )
    return made
