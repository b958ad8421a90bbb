"""CI runs all steps of `tools/check` and publishes only the files that the release check has built."""

import re
import subprocess

import pytest
import yaml
from support import ROOT
from workspace import read_projects, release_order, siblings

CHECK = ROOT / "tools/check"
WORKFLOWS = {p.stem: yaml.safe_load(p.read_text("utf-8")) for p in (ROOT / ".github/workflows").glob("*.yml")}
PROJECTS = read_projects(ROOT)
# Steps that need files outside the repository.
NOT_IN_CI = {"real"}


def refusal(*steps):
    done = subprocess.run([CHECK, *steps], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def known_steps():
    return set(refusal("no-such-step").partition("Known steps: ")[2].split())


def steps_that_ci_runs():
    """Return the names of the steps in all jobs, including those of matrices."""
    found = set()
    for job in WORKFLOWS["ci"]["jobs"].values():
        commands = " ".join(step.get("run", "") for step in job["steps"])
        for line in re.findall(r"(?:tools/check|\.ci/run)((?: [a-z]+\b)*)", commands):
            found |= set(line.split())
        if '"$STEP"' in commands:
            name = job["env"]["STEP"].partition(":")[0]
            found |= set(job["strategy"]["matrix"]["versions"]) if "matrix.versions" in name else {name}
    return found


def test_ci_runs_all_steps():
    assert steps_that_ci_runs() - {"tests"} == known_steps() - {"tests"} - NOT_IN_CI
    assert "tests" in known_steps()


def test_last_job_waits_for_all():
    jobs = WORKFLOWS["ci"]["jobs"]
    assert set(jobs["all-green"]["needs"]) == set(jobs) - {"all-green"}
    assert jobs["all-green"]["if"] == "always()"


def test_ci_runs_oldest_and_newest_python():
    requires = {project["project"]["requires-python"] for project in PROJECTS.values()}
    assert requires == {">=3.11"}
    for job in ("package", "integration"):
        assert WORKFLOWS["ci"]["jobs"][job]["strategy"]["matrix"]["python"] == ["3.11", "3.14"]


def test_package_steps_cover_all_packages():
    listed = refusal("alone:no-such-package").partition("Known packages: ")[2].split()
    assert sorted(listed) == sorted(PROJECTS)
    wants = siblings(PROJECTS)
    assert all(wants[name] <= set(listed[:i]) for i, name in enumerate(listed)), release_order(wants)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("lints", "unknown step 'lints'"),
        ("say", "unknown step 'say'"),
        ("", "unknown step ''"),
        ("alone:", "unknown package ''"),
        ("alone:mml-", "unknown package 'mml-'"),
        ("lint:mml-xpu", "step 'lint' does not take a package. Use 'lint'"),
        ("--list", "unknown step '--list'"),
    ],
)
def test_unknown_step_is_refused(step, message):
    assert message in refusal("siblings", step)


def test_help_equals_script_header():
    done = subprocess.run([CHECK, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("What CI runs, here and anywhere")
    assert all(len(line) <= 110 for line in done.stdout.splitlines())
    for step in ("integration", "dgl", "lowest", "release"):  # steps that do not run by default
        assert step in done.stdout


def test_only_checked_files_are_published():
    jobs = WORKFLOWS["release"]["jobs"]
    assert WORKFLOWS["release"]["permissions"] == {}
    runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert runs["build"] == [
        'tools/release_dry_run "$GITHUB_REF_NAME" --published-siblings --out dist',
        "rm -f dist/*-linux_*.whl",
    ]
    assert runs["wheels"] == ["uvx cibuildwheel==3.3.0 --output-dir wheels dist/*.tar.gz"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "build": None,
        "wheels": "build",
        "publish": ["build", "wheels"],
        "announce": "publish",
    }
    assert runs["publish"] == ["uv publish --trusted-publishing always dist/*.whl dist/*.tar.gz"]
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "build": {"contents": "read"},
        "wheels": {},
        "publish": {"id-token": "write"},
        "announce": {"contents": "write"},
    }


def test_failed_wheels_stop_publishing():
    condition = WORKFLOWS["release"]["jobs"]["publish"]["if"]
    assert "needs.build.result == 'success'" in condition
    assert """contains(fromJSON('["success", "skipped"]'), needs.wheels.result)""" in condition


def test_packages_with_compiled_code_have_wheels_for_all_systems():
    compiled = [name for name in PROJECTS if (ROOT / "packages" / name / "setup.py").exists()]
    assert compiled == ["mml-graphs"]
    job = WORKFLOWS["release"]["jobs"]["wheels"]
    assert job["if"] == "startsWith(github.ref_name, 'mml-graphs-v')"
    assert {os.split("-")[0] for os in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}
