import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from mml_data.convert import import_source
from mml_data.importers.workers import Workers
from mml_data.store.assemble import count_records, shards_in

IMPORT = """
import sys
from mml_data.convert import import_source
import_source(sys.argv[1], sys.argv[2], jobs=2, progress=lambda done: print(done, flush=True))
"""
NO_GUARD = """
from mml_data.convert import import_source
import_source("in.jsonl", "out", jobs=2)
"""


def write_lines(path, count):
    line = {"atomic_numbers": [1], "positions": [[0.0, 0.0, 0.0]], "targets": {"energy": 0.5}}
    path.write_text((json.dumps(line) + "\n") * count)
    return path


def is_running(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_end_with_parent(tmp_path):
    """A remaining worker would write to the shard that a resumed import continues."""
    command = [
        sys.executable,
        "-c",
        IMPORT,
        str(write_lines(tmp_path / "in.jsonl", 50_000)),
        str(tmp_path / "o"),
    ]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        parent.stdout.readline()
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 30
        while is_running(parent.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_running(parent.pid)
    finally:
        parent.stdout.close()
        if is_running(parent.pid):
            os.killpg(parent.pid, signal.SIGKILL)


def test_interrupted_workers_commit_structures(tmp_path):
    """Ctrl-C sends the signal to the parent and to the workers."""
    source, path = write_lines(tmp_path / "in.jsonl", 50_000), tmp_path / "out"
    parent = subprocess.Popen(
        [sys.executable, "-c", IMPORT, str(source), str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    parent.stdout.readline()
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=60)
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "Process Spawn" not in errors
    assert sum(count_records(shards_in(tmp_path / ".out.partial"))) > 0


def test_summarize_keeps_order():
    with Workers(1, print) as workers:
        assert list(workers.summarize([partial(pow, 2, 3), partial(pow, 3, 2)])) == [8, 9]


def test_lost_worker_raises_in_summarize():
    with Workers(2, print) as workers:
        assert list(workers.summarize([partial(pow, 2, 3), partial(pow, 3, 2)])) == [8, 9]
        with pytest.raises(RuntimeError, match="a worker process ended unexpectedly"):
            list(workers.summarize([partial(os._exit, 1)]))


def test_killed_worker_raises(tmp_path):
    def kill_one(done):
        for child in multiprocessing.active_children()[:1]:
            child.kill()

    source = write_lines(tmp_path / "in.jsonl", 20_000)
    with pytest.raises(RuntimeError, match="a worker process ended unexpectedly; if it was killed"):
        import_source(source, tmp_path / "out", jobs=2, progress=kill_one)
    assert not (tmp_path / "out").exists()


def test_script_without_guard_raises(tmp_path):
    write_lines(tmp_path / "in.jsonl", 10)
    (tmp_path / "script.py").write_text(NO_GUARD)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "call this function under `if __name__ == '__main__':`" in done.stderr
