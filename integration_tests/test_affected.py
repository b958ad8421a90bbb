"""`tools/affected`: nothing that a change can break is left out, and nothing else is tested again."""

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
    """What each of some packages asks for: any graph without circles, the names in any order."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1))
    return {name: draw(st.sets(st.sampled_from(names[:i]))) if i else set() for i, name in enumerate(names)}


def reaches(wants, start, goal):
    """The oracle: does `start` ask for `goal`, or for one that does?"""
    return start == goal or any(reaches(wants, step, goal) for step in wants[start])


@given(workspaces(), st.data())
def test_exactly_the_changed_packages_and_those_that_reach_them(wants, data):
    changed = data.draw(st.sets(st.sampled_from(sorted(wants))))
    others = data.draw(
        st.sets(st.sampled_from(["docs/a.md", "README.md", "packages/gone/a.py", "packages/x.md"]))
    )
    found = affected([*(f"packages/{name}/src/{name}/a.py" for name in changed), *others], wants)
    assert set(found) == {name for name in wants if any(reaches(wants, name, goal) for goal in changed)}


@given(workspaces())
def test_what_a_package_needs_is_what_it_reaches(wants):
    for name in wants:
        assert reached(name, wants) == {goal for goal in wants if goal != name and reaches(wants, name, goal)}


@given(workspaces())
def test_what_all_are_made_with_affects_all_in_an_order_of_release(wants):
    for path in ("pyproject.toml", "uv.lock", "tools/lock", ".ci/run", ".github/workflows/ci.yml", "LICENSE"):
        order = affected([path], wants)
        assert sorted(order) == sorted(wants)
        for i, name in enumerate(order):
            assert wants[name] <= set(order[:i])


def test_packages_that_ask_for_each_other_have_no_order():
    with pytest.raises(ValueError, match=r"circle: \['a', 'b'\]"):
        release_order({"a": {"b"}, "b": {"a"}, "c": set()})


def test_extras_and_test_groups_count_and_the_own_name_does_not():
    projects = {
        "a": {"project": {}},
        "b": {
            "project": {"dependencies": ["a[x]>=0.1,<0.2", "numpy"], "optional-dependencies": {"o": ["b[p]"]}}
        },
        "c": {"project": {"optional-dependencies": {"o": ["a ; python_version < '3.12'"]}}},
        "d": {"project": {}, "dependency-groups": {"test": ["b", {"include-group": "other"}]}},
    }
    assert siblings(projects) == {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b"}}


def test_this_workspace():
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


def test_the_command_prints_what_a_matrix_takes():
    done = command("packages/mml-tasks/pyproject.toml")
    assert json.loads(done.stdout) == ["mml-tasks", "matsciml"]
    assert done.stdout.count("\n") == 1


def test_a_revision_that_is_not_there_and_a_wrong_option():
    done = command("--base", "no-such-branch")
    assert done.returncode == 1
    assert "cannot compare with 'no-such-branch'" in done.stderr
    done = command("--bas", "main")
    assert done.returncode == 2
    assert "--bas" in done.stderr
    assert command("--base").returncode == 2
    assert command().returncode == 2
