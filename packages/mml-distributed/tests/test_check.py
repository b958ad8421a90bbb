import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_distributed.check import Place, Reduction, count_cores, find_faults, show_cores, table


def place(rank, node=0, cores="0-7", threads=1, device="cpu", devices=0):
    return Place(rank, rank, node, f"n{node}", cores, threads, device, devices)


@given(st.sets(st.integers(0, 300), min_size=1))
def test_short_form_of_cores_round_trips(cores):
    text = show_cores(cores)
    back = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        back |= set(range(int(first), int(last or first) + 1))
    assert back == cores
    assert count_cores(text) == len(cores)


def test_count_cores_of_unknown_cores_is_zero():
    assert count_cores("?") == 0
    assert find_faults([place(0, cores="?", threads=99)]) == []


def test_find_faults_accepts_good_placement():
    assert find_faults([place(0), place(1), place(0, node=1), place(1, node=1)]) == []
    gpus = [place(rank, device=f"cuda:{rank}", devices=2) for rank in range(2)]
    assert find_faults(gpus + [dataclasses.replace(one, node=1, host="n1") for one in gpus]) == []


@pytest.mark.parametrize(
    ("places", "fault"),
    [
        (
            [place(0), place(1), place(2, node=1)],
            "Lightning requires the same number of ranks on every node, got 2 on node 0, 1 on node 1",
        ),
        ([place(r, device="cuda:0", devices=1) for r in (0, 1)], "Ranks 0, 1 share cuda:0 of n0. Start at"),
        (
            [place(r, cores="0-3", threads=4) for r in (0, 1)],
            "Ranks 0, 1 start 8 threads on the 4 core(s) 0-3 of n0. Set OMP_NUM_THREADS to at most 2",
        ),
    ],
)
def test_find_faults_names_ranks_and_remedy(places, fault):
    (found,) = find_faults(places)
    assert found.startswith(fault)


def test_bandwidth_equals_that_of_ring():
    # Rank by rank, a ring sends size / n in each of 2 (n - 1) steps.
    for ranks in (1, 2, 4, 7):
        sent = sum(1000 / ranks for _ in range(2 * (ranks - 1)))
        assert Reduction(1000, 0.5, True).bandwidth(ranks) == pytest.approx(sent / 0.5)


def test_table_aligns_columns():
    assert table([["0", "long name", "x"]], ("rank", "host", "y")) == [
        "rank  host       y",
        "0     long name  x",
    ]
