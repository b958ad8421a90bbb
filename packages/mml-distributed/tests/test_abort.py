import contextlib
import io
import os
import select
import sys
import threading

import pytest
from mml_distributed import abort
from mml_distributed.abort import abort_job_on_exception
from mml_distributed.launch import HYDRA, OPEN_MPI, Launch


def launch_of(launcher, size):
    return Launch(launcher, "PMI_RANK", 0, size, 0, size)


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_the_traceback_is_printed_then_the_launcher_is_told(launched, pipe, monkeypatch):
    """Also where a hook around ours, as torch's, holds back what is printed until ours has returned."""
    printed = threading.Event()
    monkeypatch.setattr(abort.time, "sleep", lambda seconds: printed.wait())
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    for _ in range(2):
        abort_job_on_exception(launch_of(HYDRA, 2), {"PMI_FD": str(pipe[1])})
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        sys.excepthook(RuntimeError, RuntimeError("rank failed"), None)
    assert stderr.getvalue().count("rank failed") == 1
    assert select.select([pipe[0]], [], [], 0)[0] == []
    printed.set()
    assert os.read(pipe[0], 1000) == b"cmd=abort exitcode=1\n"


def test_a_program_that_catches_its_errors_can_end_the_job(launched, pipe, monkeypatch):
    monkeypatch.setattr(abort.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    abort.abort_job()
    assert select.select([pipe[0]], [], [], 0)[0] == [], "no job is running yet"
    abort_job_on_exception(launch_of(HYDRA, 2), {"PMI_FD": str(pipe[1])})
    abort.abort_job()
    assert os.read(pipe[0], 1000) == b"cmd=abort exitcode=1\n"


@pytest.mark.parametrize(
    ("launch", "env"),
    [
        (launch_of(HYDRA, 1), {"PMI_FD": "9"}),
        (launch_of(HYDRA, 2), {}),
        (launch_of(OPEN_MPI, 2), {"PMI_FD": "9"}),
    ],
)
def test_where_it_is_not_needed_nothing_is_changed(launched, launch, env):
    before = sys.excepthook
    abort_job_on_exception(launch, env)
    assert sys.excepthook is before
