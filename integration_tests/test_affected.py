"""`tools/affected` lists exactly the packages that a change can break."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT
from workspace import affected, reached, read_projects, release_order, siblings

PROJECTS = read_projects(ROOT)
WANTS = siblings(PROJECTS)


@st.composite
def workspaces(draw):
    """Draw the dependencies of some packages: any graph without cycles, with the names in any order."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1))
    return {name: draw(st.sets(st.sampled_from(names[:i]))) if i else set() for i, name in enumerate(names)}


def reaches(wants, start, goal):
    """Return whether `start` depends on `goal`, directly or indirectly. This is the oracle."""
    return start == goal or any(reaches(wants, step, goal) for step in wants[start])


@given(workspaces(), st.data())
def test_affected_equals_reachable(wants, data):
    changed = data.draw(st.sets(st.sampled_from(sorted(wants))))
    others = data.draw(
        st.sets(st.sampled_from(["docs/a.md", "README.md", "packages/gone/a.py", "packages/x.md"]))
    )
    found = affected([*(f"packages/{name}/src/{name}/a.py" for name in changed), *others], wants)
    assert set(found) == {name for name in wants if any(reaches(wants, name, goal) for goal in changed)}


@given(workspaces())
def test_reached_equals_oracle(wants):
    for name in wants:
        assert reached(name, wants) == {goal for goal in wants if goal != name and reaches(wants, name, goal)}


@given(workspaces())
def test_shared_file_affects_all_in_release_order(wants):
    for path in ("pyproject.toml", "uv.lock", "tools/lock", ".ci/run", ".github/workflows/ci.yml", "LICENSE"):
        order = affected([path], wants)
        assert sorted(order) == sorted(wants)
        for i, name in enumerate(order):
            assert wants[name] <= set(order[:i])


def test_cycle_raises():
    with pytest.raises(ValueError, match=r"circle: \['a', 'b'\]"):
        release_order({"a": {"b"}, "b": {"a"}, "c": set()})


def test_siblings_include_extras_and_test_groups():
    projects = {
        "a": {"project": {}},
        "b": {
            "project": {"dependencies": ["a[x]>=0.1,<0.2", "numpy"], "optional-dependencies": {"o": ["b[p]"]}}
        },
        "c": {"project": {"optional-dependencies": {"o": ["a ; python_version < '3.12'"]}}},
        "d": {"project": {}, "dependency-groups": {"test": ["b", {"include-group": "other"}]}},
    }
    assert siblings(projects) == {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b"}}


def test_workspace_changes_affect_dependents():
    assert affected(["packages/mml-graphs/README.md"], WANTS) == ["mml-graphs", "mml-data", "matsciml"]
    assert affected(["packages/mml-xpu/tests/test_strategy.py"], WANTS) == ["mml-xpu", "matsciml"]
    assert affected(["docs/index.md", "examples/spike_warning.py"], WANTS) == []
    assert release_order(WANTS)[-1] == "matsciml"
    assert set(PROJECTS) == {path.name for path in (ROOT / "packages").iterdir()}


def command(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/affected"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_prints_json():
    done = command("packages/mml-tasks/pyproject.toml")
    assert json.loads(done.stdout) == ["mml-tasks", "matsciml"]
    assert done.stdout.count("\n") == 1


def test_command_refuses_invalid_arguments():
    done = command("--base", "no-such-branch")
    assert done.returncode == 1
    assert "cannot compare with 'no-such-branch'" in done.stderr
    done = command("--bas", "main")
    assert done.returncode == 2
    assert "--bas" in done.stderr
    assert command("--base").returncode == 2
    assert command().returncode == 2
