"""What more ranks would cost: a model of data parallel steps, from numbers measured on few ranks.

Every rank computes a step on a batch of its own (weak scaling), and the gradients are summed over all ranks
in a ring. With n ranks, S bytes, a latency a and a bandwidth b of one link, the ring takes 2 (n - 1) messages
of S / n bytes one after the other:

    t(n) = 2 (n - 1) (a + S / (n b))

Source of the ring's cost: P. Patarasuk, X. Yuan, J. Parallel Distrib. Comput. 69 (2009) 117; of the cost of a
message as latency and size over bandwidth: R. Hockney, Parallel Comput. 20 (1994) 389. The model knows one
kind of link, so nothing of nodes, switches, contention or ranks that wait for a slower one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Link(NamedTuple):
    """What connects two neighbours of the ring: seconds a message, and bytes a second."""

    latency: float
    bandwidth: float


class Prediction(NamedTuple):
    """A step with a number of ranks."""

    ranks: int
    reduce_seconds: float
    low: float
    """Efficiency if summing starts when computing has ended."""
    high: float
    """Efficiency if summing costs nothing while there is something to compute."""


def fit_link(sizes: Sequence[int], seconds: Sequence[float], ranks: int) -> Link:
    """Return the link on which a ring of `ranks` takes these times: from the smallest and the largest size.

    Parameters
    ----------
    sizes
        Bytes that were summed.
    seconds
        Time of each.
    ranks
        How many took part.

    Raises
    ------
    ValueError
        Fewer than two ranks or sizes, or a larger one that took no longer.
    """
    measured = sorted(zip(sizes, seconds, strict=True))
    (small, first), (large, last) = (measured[0], measured[-1]) if measured else ((0, 0.0), (0, 0.0))
    if ranks < 2 or large <= small:
        raise ValueError(
            f"{len(set(sizes))} size(s) summed by {ranks} rank(s) say nothing of a link: measure two sizes "
            "at least, with two ranks at least"
        )
    if last <= first:
        raise ValueError(
            f"{large} bytes took {last:g} s and {small} bytes {first:g} s: a bandwidth cannot be told from "
            "that; measure larger sizes, or more repeats"
        )
    per_byte = (last - first) / (large - small)
    steps = 2 * (ranks - 1)
    return Link(max(0.0, (first - per_byte * small) / steps), steps / (ranks * per_byte))


def reduce_seconds(size: float, link: Link, ranks: int) -> float:
    """Return the time in which a ring of `ranks` sums `size` bytes."""
    return 2 * (ranks - 1) * (link.latency + size / (ranks * link.bandwidth))


def predict(step: float, size: float, link: Link, ranks: int) -> Prediction:
    """Predict a step with `ranks` ranks, each with the batch of one.

    Parameters
    ----------
    step
        Seconds that one rank computes for a step, alone.
    size
        Bytes of its gradients.
    link
        Between neighbours of the ring.
    ranks
        How many.

    Returns
    -------
    Prediction
        Efficiency is the time of the step with one rank over that with `ranks`: 1 is perfect.

    Raises
    ------
    ValueError
        A number of ranks or a time that is none.
    """
    if ranks < 1 or not step > 0:
        raise ValueError(
            f"ranks={ranks}, step={step}: at least one rank, and a step that takes time, are needed"
        )
    wait = reduce_seconds(size, link, ranks)
    return Prediction(ranks, wait, step / (step + wait), step / max(step, wait))
