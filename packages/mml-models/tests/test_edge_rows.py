from __future__ import annotations

import torch
from mml_models.layers.edge_rows import by_pair, sum_of_pairs, times_


def test_rows_are_all_edges(rows):
    assert sorted(rows.edge.tolist()) == list(range(len(rows.edge)))
    assert rows.pair[rows.first].tolist() == list(range(len(rows.first)))


def test_edges_of_pair_share_slice(rows):
    seen = 0
    for some, those in rows.slices():
        assert rows.pair[some].tolist() == list(range(those.start, those.stop)) * rows.ways
        seen += len(rows.pair[some])
    assert seen == len(rows.edge)


def test_paired_rows_are_opposite_edges(rows):
    for some, _ in rows.slices():
        center, neighbor = (by_pair(x[some].unsqueeze(1), rows) for x in (rows.center, rows.neighbor))
        assert torch.equal(center[0], (neighbor if rows.ways == 2 else center)[-1])


def test_pair_functions_equal_loop(rows):
    some, those = list(rows.slices())[-1]
    num_pairs = those.stop - those.start
    values = torch.arange(float(some.stop - some.start)).unsqueeze(1)
    factors = 2.0 + torch.arange(num_pairs).unsqueeze(1)
    products = [float(values[row] * factors[row % num_pairs]) for row in range(len(values))]
    sums = [float(values[pair::num_pairs].sum()) for pair in range(num_pairs)]
    assert sum_of_pairs(values, rows).flatten().tolist() == sums
    assert times_(values, factors, rows) is values
    assert values.flatten().tolist() == products
