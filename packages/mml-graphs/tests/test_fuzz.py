"""Compile and run native/fuzz.c, which searches extreme and invalid structures and checks the edges."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[1] / "native"
COMPILER = os.environ.get("CC", "cc")
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    if not shutil.which(COMPILER):
        pytest.skip(f"the C compiler {COMPILER} is not installed")
    program = tmp_path_factory.mktemp("fuzz") / "fuzz"
    command = [
        COMPILER,
        "-std=gnu11",
        "-ffp-contract=off",
        "-pthread",
        str(NATIVE / "fuzz.c"),
        "-lm",
        "-o",
        program,
    ]
    if subprocess.run([*command, *SANITIZED], capture_output=True, check=False).returncode:
        subprocess.run([*command, "-O1"], check=True)  # the sanitizers are not installed
    return program


def test_extreme_structures_keep_the_laws(fuzz):
    done = subprocess.run([fuzz, "200", "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = dict(line.split(": ") for line in done.stdout.splitlines())
    assert int(seen["found"]) > 100
    assert all(int(seen[reason]) > 0 for reason in ("not finite", "coincident", "too distant", "too many"))
