"""A release has a valid tag, complete notes and a checked wheel. The dry run does everything but publish."""

import runpy
import shutil
import subprocess
import tomllib
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from release_notes import Release, ReleaseError, cut_notes, parse_target, release_notes
from support import ROOT
from workspace import read_projects

DRY_RUN = ROOT / "tools/release_dry_run"
VERSIONS = {name: project["project"]["version"] for name, project in read_projects(ROOT).items()}
versions = st.from_regex(
    r"(0|[1-9][0-9]?)(\.(0|[1-9][0-9]?)){2}((a|b|rc)[1-9])?(\.post[1-9])?", fullmatch=True
)


@given(st.sampled_from(sorted(VERSIONS)), versions)
def test_tag_names_package_and_version(package, version):
    assert parse_target(f"{package}-v{version}", {**VERSIONS, package: version}) == (package, version, True)
    assert parse_target(package, {**VERSIONS, package: version}) == (package, version, False)
    with pytest.raises(
        ReleaseError, match=rf"has version 99\.0. Use the tag {package}-v99\.0, or run `uv version"
    ):
        parse_target(f"{package}-v{version}", {**VERSIONS, package: "99.0"})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mml-graph", "'mml-graph' is neither a package nor a tag"),
        ("v0.1.0", "The packages are matsciml, mml-data"),
        ("mml_graphs-v0.1.0", "'mml_graphs-v0.1.0' is neither"),
        ("mml-graphs-0.1.0", "neither"),
        ("mml-graphs-v", r"'' is not a version \(PEP 440\)"),
        ("mml-graphs-vnext", "'next' is not a version"),
        ("mml-graphs-v0.01.0", "Write it as '0.1.0'"),
        ("", "neither"),
    ],
)
def test_unknown_tag_is_refused(target, message):
    with pytest.raises(ReleaseError, match=message):
        parse_target(target, VERSIONS)


lines = st.lists(
    st.sampled_from(["### Added", "- text (#2)", "", "  more", "# 0.1.0", "see ## 9.9.9 (2026-01-01)"])
)


@given(st.lists(st.tuples(versions, lines), unique_by=lambda section: section[0]), versions)
def test_notes_equal_section(sections, other):
    bodies = {version: "\n".join(body).strip() for version, body in sections}
    changelog = "# Changelog\n\n" + "".join(
        f"## {v} (2026-11-25)\n\n{body}\n\n\n" for v, body in bodies.items()
    )
    for version, body in bodies.items():
        assert cut_notes(changelog, version) == body + "\n"
    assert other in bodies or cut_notes(changelog, other) is None


@pytest.fixture
def tree(tmp_path):
    """Return a workspace with one package that has two fragments and no release."""
    package = tmp_path / "packages/mml-one"
    (package / "changelog.d").mkdir(parents=True)
    (package / "changelog.d/.gitkeep").touch()
    (package / "changelog.d/2.added.md").write_text("Neighbors.\n")
    (package / "changelog.d/3.fixed.md").write_text("Cells of *zero* volume are refused.\n")
    (package / "CHANGELOG.md").write_text("# Changelog\n\n<!-- towncrier release notes start -->\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_draft_keeps_fragments(tree):
    before = contents(tree)
    notes = release_notes(tree, Release("mml-one", "0.1.0", tagged=False))
    assert (
        notes == "### Added\n\n- Neighbors. (#2)\n\n### Fixed\n\n- Cells of *zero* volume are refused. (#3)\n"
    )
    assert contents(tree) == before


def test_tag_requires_finished_changelog(tree):
    """The message contains a command, whose output equals the draft."""
    early = release_notes(tree, Release("mml-one", "0.1.0", tagged=False))
    tag = Release("mml-one", "0.1.0", tagged=True)
    with pytest.raises(ReleaseError, match=r"no section for 0\.1\.0.*2\.added\.md, 3\.fixed\.md") as refused:
        release_notes(tree, tag)
    command = str(refused.value).split("`")[1].split()
    assert command[:3] == ["uv", "run", "towncrier"]
    done = subprocess.run([*command[2:], "--yes"], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert release_notes(tree, tag) == release_notes(tree, tag._replace(tagged=False)) == early
    assert [path.name for path in (tree / "packages/mml-one/changelog.d").iterdir()] == [".gitkeep"]
    (tree / "packages/mml-one/changelog.d/5.changed.md").write_text("Late.\n")
    with pytest.raises(ReleaseError, match=r"a section for 0\.1\.0, and changelog\.d has 5\.changed\.md"):
        release_notes(tree, tag)
    # Between two releases, the dry run shows the notes of the next one.
    assert release_notes(tree, tag._replace(tagged=False)) == "### Changed\n\n- Late. (#5)\n"


def test_invalid_or_missing_fragment_is_refused(tree):
    folder = tree / "packages/mml-one/changelog.d"
    (folder / "4.feature.md").write_text("Lost.\n")
    with pytest.raises(ReleaseError, match=r"packages/mml-one/changelog\.d.*4\.feature\.md"):
        release_notes(tree, Release("mml-one", "0.1.0", tagged=False))
    for file in folder.glob("*.md"):
        file.unlink()
    with pytest.raises(ReleaseError, match=r"no fragment, and CHANGELOG\.md no section for 0\.1\.0"):
        release_notes(tree, Release("mml-one", "0.1.0", tagged=False))


@pytest.mark.parametrize("package", sorted(VERSIONS))
def test_notes_contain_every_fragment(package):
    folder = ROOT / "packages" / package / "changelog.d"
    notes = " ".join(release_notes(ROOT, Release(package, VERSIONS[package], tagged=False)).split())
    for fragment in folder.glob("[!.]*"):
        assert " ".join(fragment.read_text(encoding="utf-8").split()) in notes, fragment


def uv_lock(folder, text):
    (folder / "pyproject.toml").write_text(text)
    return subprocess.run(["uv", "lock"], cwd=folder, capture_output=True, text=True, check=False)


def test_package_comes_from_local_index(tmp_path, dry_run):
    """A package that also exists on the default index must not be installed from there."""
    index = tmp_path / "index"
    index.mkdir()
    text = dry_run["project_file"](Release("iniconfig", "2.0.0", tagged=False), [], {"iniconfig"}, index, [])
    elsewhere = text.replace('iniconfig = { index = "release" }', "")
    assert uv_lock(tmp_path, elsewhere).returncode == 0, "the package must exist on the default index"
    (tmp_path / "uv.lock").unlink()
    done = uv_lock(tmp_path, text)
    assert done.returncode != 0
    assert "iniconfig" in done.stderr


def add_wheel(index, name, version, requires=""):
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(index / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        required = f"Requires-Dist: {requires}\n" if requires else ""
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_siblings_come_from_local_index(tmp_path, dry_run):
    """The package requires its siblings. The project that requires the package does not name them."""
    index = tmp_path / "index"
    index.mkdir()
    add_wheel(index, "one", "0.1.0", requires="iniconfig")
    text = dry_run["project_file"](Release("one", "0.1.0", tagged=False), [], {"one", "iniconfig"}, index, [])
    assert uv_lock(tmp_path, text).returncode != 0
    add_wheel(index, "iniconfig", "0.0.7")
    done = uv_lock(tmp_path, text)
    assert done.returncode == 0, done.stderr
    packages = tomllib.loads((tmp_path / "uv.lock").read_text())["package"]
    assert {package["name"]: package["version"] for package in packages}["iniconfig"] == "0.0.7"


@pytest.fixture(scope="module")
def dry_run():
    return runpy.run_path(str(DRY_RUN))


def test_installed_files_equal_wheel(tmp_path, dry_run):
    wheel, installed = tmp_path / "one-0.1.0-py3-none-any.whl", tmp_path / "env/lib/python3.11/site-packages"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("one/__init__.py", "A = 1\n")
        archive.writestr("one-0.1.0.dist-info/RECORD", "")
    (installed / "one").mkdir(parents=True)
    compare, refused = (
        dry_run["compare"],
        pytest.raises(Exception, match=r"__init__\.py is not installed as it is"),
    )
    with refused:
        compare(wheel, tmp_path / "env")
    (installed / "one/__init__.py").write_text("A = 1\n")
    compare(wheel, tmp_path / "env")
    (installed / "one/__init__.py").write_text("A = 2\n")
    with refused:
        compare(wheel, tmp_path / "env")


def git_status():
    """Return the output of git status, with ignored files except those that other tests may write."""
    command = ["git", "status", "--porcelain", "--ignored", "--untracked-files=all"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    others = ("__pycache__", ".hypothesis", ".pytest_cache")
    return [line for line in done.stdout.splitlines() if not any(name in line for name in others)]


def run(*arguments):
    return subprocess.run([str(DRY_RUN), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
# This takes one minute on an idle machine. A first download of torch is several GB.
@pytest.mark.timeout(1800)
def test_dry_run_publishes_nothing(tmp_path):
    """The tested package is mml-xpu, whose tests are the fastest."""
    before = git_status()
    lock = (ROOT / "uv.lock").read_bytes()
    done = run("mml-xpu", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert git_status() == before
    assert (ROOT / "uv.lock").read_bytes() == lock
    version = VERSIONS["mml-xpu"]
    wheel = f"mml_xpu-{version}-py3-none-any.whl"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {wheel, f"mml_xpu-{version}.tar.gz", "notes.md"}
    assert (tmp_path / "out/notes.md").read_text() in done.stdout
    assert " passed" in done.stdout
    with zipfile.ZipFile(tmp_path / "out" / wheel) as archive:
        names = archive.namelist()
        assert f"mml_xpu-{version}.dist-info/licenses/LICENSE" in names
        assert (
            archive.read(f"mml_xpu-{version}.dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        )
        assert "mml_xpu/py.typed" in names
        source = ROOT / "packages/mml-xpu/src"
        assert {n for n in names if n.endswith(".py")} == {
            str(p.relative_to(source)) for p in source.rglob("*.py")
        }


def test_dry_run_refuses_before_build(tmp_path):
    done = run("mml-xpu-v99.0.0")
    assert done.returncode == 1
    assert done.stderr.startswith("tools/release_dry_run: tag mml-xpu-v99.0.0, but")
    (tmp_path / "old.whl").touch()
    done = run("mml-xpu", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert not done.stdout
