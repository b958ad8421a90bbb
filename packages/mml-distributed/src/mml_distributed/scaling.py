"""Predict the cost of more ranks: a model of data parallel steps, fitted to measurements on few ranks.

Every rank computes a step on its own batch (weak scaling). The gradients are then summed over all ranks in a
ring. With n ranks, S bytes, and a latency a and bandwidth b of one link, the ring sends 2 (n - 1) messages of
S / n bytes one after the other:

    t(n) = 2 (n - 1) (a + S / (n b))

Source of the cost of the ring: P. Patarasuk, X. Yuan, J. Parallel Distrib. Comput. 69 (2009) 117. Source of
the cost of a message as latency plus size over bandwidth: R. Hockney, Parallel Comput. 20 (1994) 389. The
model assumes identical links. It ignores nodes, switches, contention and waiting for slower ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Link(NamedTuple):
    """The connection of two neighbors in the ring: seconds per message, and bytes per second."""

    latency: float
    bandwidth: float


class Prediction(NamedTuple):
    """Predicted duration and efficiency of a step on a given number of ranks."""

    ranks: int
    reduce_seconds: float
    low: float
    """Efficiency if the reduction starts only after the computation has ended."""
    high: float
    """Efficiency if the reduction fully overlaps with the computation."""


def fit_link(sizes: Sequence[int], seconds: Sequence[float], ranks: int) -> Link:
    """Fit the latency and bandwidth of a link to the smallest and largest of several measured reductions.

    Parameters
    ----------
    sizes
        Sizes of the reduced tensors in bytes.
    seconds
        Time of each reduction in seconds.
    ranks
        Number of ranks in the ring.

    Returns
    -------
    Link
        Latency (at least 0) and bandwidth with which the ring takes the measured times.

    Raises
    ------
    ValueError
        If there are fewer than two ranks or two sizes, or if the largest size did not take longer than the
        smallest.
    """
    measured = sorted(zip(sizes, seconds, strict=True))
    (small, first), (large, last) = (measured[0], measured[-1]) if measured else ((0, 0.0), (0, 0.0))
    if ranks < 2 or large <= small:
        raise ValueError(
            f"a link requires at least 2 sizes and 2 ranks, got {len(set(sizes))} size(s) and {ranks} rank(s)"
        )
    if last <= first:
        raise ValueError(
            f"The bandwidth cannot be determined, because {large} bytes took {last:g} s and {small} bytes "
            f"{first:g} s. Measure larger sizes or more repeats."
        )
    per_byte = (last - first) / (large - small)
    steps = 2 * (ranks - 1)
    return Link(max(0.0, (first - per_byte * small) / steps), steps / (ranks * per_byte))


def reduce_seconds(size: float, link: Link, ranks: int) -> float:
    """Return the time in seconds that a ring of `ranks` ranks needs to sum `size` bytes."""
    return 2 * (ranks - 1) * (link.latency + size / (ranks * link.bandwidth))


def predict(step: float, size: float, link: Link, ranks: int) -> Prediction:
    """Predict a step on `ranks` ranks, each of which computes the batch of a single rank.

    Parameters
    ----------
    step
        Time in seconds that a single rank needs to compute a step.
    size
        Size of the gradients in bytes.
    link
        Connection of two neighbors in the ring.
    ranks
        Number of ranks.

    Returns
    -------
    Prediction
        The efficiency is the time of the step on one rank divided by its time on `ranks` ranks. 1 is perfect.

    Raises
    ------
    ValueError
        If `ranks` is less than 1 or `step` is not positive.
    """
    if ranks < 1 or not step > 0:
        raise ValueError(
            f"ranks must be at least 1 and step must be positive, got ranks={ranks} and step={step}"
        )
    wait = reduce_seconds(size, link, ranks)
    return Prediction(ranks, wait, step / (step + wait), step / max(step, wait))
