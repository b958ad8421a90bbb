from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_distributed import threads
from mml_distributed.threads import set_thread_count, thread_count


@given(cores=st.sets(st.integers(0, 63), min_size=1), ranks=st.integers(1, 80))
def test_thread_count_never_exceeds_cores(cores, ranks):
    count = thread_count(cores, cores, ranks)
    assert count >= 1
    assert count * ranks <= max(len(cores), ranks)
    assert (count + 1) * ranks > len(cores)


@given(cores=st.sets(st.integers(0, 63), min_size=2), data=st.data())
def test_pinned_rank_uses_its_cores(cores, data):
    mine = data.draw(st.sets(st.sampled_from(sorted(cores)), min_size=1, max_size=len(cores) - 1))
    assert thread_count(mine, cores, 4) == len(mine)


def test_omp_num_threads_is_kept(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: pytest.fail("it was given"))
    for env, ranks in (({"OMP_NUM_THREADS": "3"}, 2), ({}, None)):
        before = dict(env)
        set_thread_count(env, ranks)
        assert env == before


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc, and no affinity to ask for")
def test_set_thread_count_sets_torch_and_variable(monkeypatch):
    said, env = [], {}
    monkeypatch.setattr(torch, "set_num_threads", said.append)
    monkeypatch.setattr(threads, "ancestors", list)
    set_thread_count(env, 10_000)
    assert said == [1]
    assert env == {"OMP_NUM_THREADS": "1"}
