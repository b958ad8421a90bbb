"""Reductions on a single rank; test_two_ranks.py tests two ranks."""

import torch
from mml_tasks.trainer.ranks import objects_of_all_ranks, rows_of_all_ranks, sum_over_ranks, world_size


def test_single_rank_returns_own_values():
    values = torch.arange(3.0)
    assert world_size() == 1
    assert sum_over_ranks(values) is values
    assert rows_of_all_ranks(values) is values
    assert objects_of_all_ranks("a") == ["a"]
