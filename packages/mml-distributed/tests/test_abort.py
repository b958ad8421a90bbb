import contextlib
import io
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mml_distributed import abort
from mml_distributed.abort import abort_job_on_failure
from mml_distributed.launch import HYDRA, OPEN_MPI, Launch


def launch_of(launcher, size):
    return Launch(launcher, "PMI_RANK", 0, size, 0, size)


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_hook_prints_traceback_before_abort(launched, pipe, monkeypatch):
    """The traceback is also printed if an outer hook, such as torch's, delays its output."""
    printed = threading.Event()
    monkeypatch.setattr(abort.time, "sleep", lambda seconds: printed.wait())
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    for _ in range(2):
        abort_job_on_failure(launch_of(HYDRA, 2), {"PMI_FD": str(pipe[1])})
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        sys.excepthook(RuntimeError, RuntimeError("rank failed"), None)
    assert stderr.getvalue().count("rank failed") == 1
    assert select.select([pipe[0]], [], [], 0)[0] == []
    printed.set()
    assert os.read(pipe[0], 1000) == b"cmd=abort exitcode=1\n"


def test_abort_job_ends_job(launched, pipe, monkeypatch):
    monkeypatch.setattr(abort.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    abort.abort_job()
    assert select.select([pipe[0]], [], [], 0)[0] == [], "no job is running yet"
    abort_job_on_failure(launch_of(HYDRA, 2), {"PMI_FD": str(pipe[1])})
    abort.abort_job()
    assert os.read(pipe[0], 1000) == b"cmd=abort exitcode=1\n"


def test_hook_ignores_job_of_one_rank(launched):
    before = sys.excepthook, sys.exit
    abort_job_on_failure(launch_of(HYDRA, 1), {"PMI_FD": "9"})
    assert (sys.excepthook, sys.exit) == before


@pytest.mark.parametrize(("launcher", "env"), [(HYDRA, {}), (OPEN_MPI, {"PMI_FD": "9"})])
def test_hook_only_prints_if_launcher_aborts(launched, launcher, env, capsys, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(os, "write", lambda *arguments: pytest.fail(f"written: {arguments}"))
    abort_job_on_failure(launch_of(launcher, 2), env)
    sys.excepthook(RuntimeError, RuntimeError("rank failed"), None)
    abort.abort_job()
    assert capsys.readouterr().err.count("rank failed") == 1


ENDINGS = {
    "sys.exit(3)": (b"cmd=abort exitcode=3\n", 3),
    "sys.exit(256)": (b"cmd=abort exitcode=1\n", 0),
    "sys.exit('what was wrong')": (b"cmd=abort exitcode=1\n", 1),
    "raise RuntimeError": (b"cmd=abort exitcode=1\n", 1),
    "sys.exit(0)": (b"", 0),
    "pass": (b"", 0),
    "if os.fork() == 0: sys.exit(3)": (b"", 0),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_failed_rank_aborts_job(pipe, ending):
    script = f"""
import os, sys
from types import ModuleType
# The package's modules without its __init__, which imports Lightning.
package = sys.modules["mml_distributed"] = ModuleType("mml_distributed")
package.__path__ = [{str(Path(abort.__file__).parent)!r}]
from mml_distributed.abort import abort_job_on_failure, on_success
from mml_distributed.launch import HYDRA, Launch
abort_job_on_failure(Launch(HYDRA, "PMI_RANK", 0, 2, 0, 2), {{"PMI_FD": "{pipe[1]}"}})
on_success(lambda: print("ended well"))
{ending}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], pass_fds=[pipe[1]], capture_output=True, text=True, check=False
    )
    told, status = ENDINGS[ending]
    assert done.returncode == status
    ready = select.select([pipe[0]], [], [], 0)[0]
    assert (os.read(pipe[0], 1000) if ready else b"") == told
    assert done.stdout == ("" if told else "ended well\n")
