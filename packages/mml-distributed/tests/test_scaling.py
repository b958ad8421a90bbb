import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_distributed.scaling import Link, fit_link, predict, reduce_seconds

links = st.builds(Link, st.floats(1e-7, 1e-2), st.floats(1e6, 1e12))
many = st.integers(2, 2048)


def ring(size, link, ranks):
    """Simulate a ring all-reduce. In each step, every rank sends one chunk to the next rank."""
    chunks = [[{rank} for _ in range(ranks)] for rank in range(ranks)]  # who is in chunk c of rank r
    clock = 0.0
    for step in range(2 * (ranks - 1)):
        # First sums travel on, then the complete chunks: the same schedule, one step apart.
        sent = [
            (rank, (rank - step) % ranks, set(chunks[rank][(rank - step) % ranks])) for rank in range(ranks)
        ]
        for rank, chunk, content in sent:
            chunks[(rank + 1) % ranks][chunk] |= content
        clock += link.latency + size / ranks / link.bandwidth
    assert all(chunk == set(range(ranks)) for mine in chunks for chunk in mine), "every rank has every sum"
    return clock


@given(size=st.floats(0, 1e10), link=links, ranks=st.integers(1, 12))
def test_reduce_seconds_equal_simulated_ring(size, link, ranks):
    assert reduce_seconds(size, link, ranks) == pytest.approx(ring(size, link, ranks))


@given(link=links, ranks=many)
def test_fit_link_recovers_link(link, ranks):
    sizes = [10**12, 10**3, 10**6]  # in any order
    found = fit_link(sizes, [reduce_seconds(size, link, ranks) for size in sizes], ranks)
    assert found.bandwidth == pytest.approx(link.bandwidth, rel=1e-4)
    assert reduce_seconds(10**3, found, ranks) == pytest.approx(reduce_seconds(10**3, link, ranks), rel=1e-3)


@given(step=st.floats(1e-4, 1e2), size=st.floats(0, 1e10), link=links, ranks=many)
def test_prediction_is_monotonic(step, size, link, ranks):
    one, here, more = (predict(step, size, link, n) for n in (1, ranks, ranks + 1))
    assert one == (1, 0.0, 1.0, 1.0)
    assert 0 < here.low <= here.high <= 1
    assert more.low <= here.low * (1 + 1e-12)
    assert predict(step, 2 * size, link, ranks).high <= here.high


def test_predict_equals_example():
    # 100 MB over 10 GB/s: half is sent twice by each of two ranks, 10 ms in all, and two messages of 1 ms.
    assert predict(0.012, 1e8, Link(1e-3, 1e10), 2) == pytest.approx((2, 0.012, 0.5, 1.0))


@pytest.mark.parametrize(
    ("sizes", "seconds", "ranks", "message"),
    [
        ([], [], 2, "got 0 size"),
        ([1000], [0.1], 2, r"got 1 size\(s\) and 2"),
        ([1000, 2000], [0.1, 0.2], 1, r"and 1 rank\(s\)"),
        ([1000, 2000], [0.2, 0.1], 2, "2000 bytes took 0.1 s and 1000 bytes 0.2 s"),
    ],
)
def test_fit_link_rejects_insufficient_data(sizes, seconds, ranks, message):
    with pytest.raises(ValueError, match=message):
        fit_link(sizes, seconds, ranks)


@pytest.mark.parametrize(("step", "ranks"), [(0.0, 4), (float("nan"), 4), (1.0, 0), (-1.0, 2)])
def test_predict_rejects_invalid_arguments(step, ranks):
    with pytest.raises(ValueError, match="ranks must be at least 1 and step must be positive"):
        predict(step, 1e6, Link(1e-3, 1e9), ranks)
