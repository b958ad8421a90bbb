import os
from pathlib import Path

import pytest
from mml_distributed.ancestry import Process, ancestors, parse_stat

STAT = "{pid} ({name}) S {parent} 0 0 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0"


def test_ancestors_accept_spaces_and_parentheses():
    assert parse_stat(STAT.format(pid=7, name="a) (b 1", parent=3, start=99)) == ("a) (b 1", 3, 99)


def test_ancestors_lists_nearest_first(tmp_path):
    for pid, name, parent in ((os.getppid(), "bash", 12), (12, "hydra_pmi_proxy", 11), (11, "mpiexec", 0)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(
            STAT.format(pid=pid, name=name, parent=parent, start=pid * 10)
        )
    assert ancestors(tmp_path)[1:] == [Process(12, "hydra_pmi_proxy", 120), Process(11, "mpiexec", 110)]
    assert ancestors(tmp_path)[0].name == "bash"


def test_ancestors_is_empty_without_proc(tmp_path):
    assert ancestors(tmp_path / "absent") == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")
def test_ancestors_begins_with_parent():
    assert ancestors()[0].pid == os.getppid()
