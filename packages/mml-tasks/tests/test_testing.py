import torch
from mml_tasks.testing import random_structure, toy_batch, toy_graph


def test_fcc_has_known_neighbors():
    cell = 3.6 * (torch.ones(3, 3, dtype=torch.float64) - torch.eye(3, dtype=torch.float64)) / 2
    pos = torch.zeros(1, 3, dtype=torch.float64)
    for cutoff, neighbors in ((2.6, 12), (3.7, 18), (4.5, 42)):
        assert toy_graph(torch.tensor([29]), pos, cell, cutoff).edge_index.shape[1] == neighbors


def test_edges_are_symmetric_within_cutoff():
    graph = toy_graph(*random_structure(3))
    source, target = graph.edge_index
    vectors = graph.pos[target] + graph.offsets - graph.pos[source]
    assert vectors.norm(dim=1).max() <= 4.0
    torch.testing.assert_close(vectors.sum(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)


def test_batch_shifts_edges():
    a, b = toy_graph(*random_structure(0, 2)), toy_graph(*random_structure(1, 3))
    graph = toy_batch([a, b])["graph"]
    assert torch.equal(graph.edge_index[:, a.edge_index.shape[1] :], b.edge_index + 2)
    assert graph.batch.tolist() == [0, 0, 1, 1, 1]
