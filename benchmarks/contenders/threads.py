"""Batches of mml-graphs with one and with two threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from contenders.face import Method
from contenders.ours import RETURNS, as_arrays
from contenders.ours import methods as own_methods

if TYPE_CHECKING:
    from mml_samples import Sample

PACKAGES = ("mml-graphs", "torch")


def methods() -> dict[str, Method]:
    """Return `GraphCollate` with each number of threads."""
    ours = own_methods()["arrays"]
    assert ours.collate is not None
    graph_collate = ours.collate

    def collate(samples: list[Sample], num_threads: int) -> Any:
        torch.set_num_threads(num_threads)
        return graph_collate(samples)

    return {
        f"{number} thread{'s' * (number > 1)}": Method(
            as_arrays, ours.convert, ours.count_edges, partial(collate, num_threads=number), RETURNS
        )
        for number in (1, 2)
    }
