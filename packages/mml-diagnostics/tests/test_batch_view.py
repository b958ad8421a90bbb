"""Views of mappings, PyG graphs and other batches."""

import pytest
import torch
from mml_diagnostics.batch_view import count_sizes, sample_ids_of, view_batch


def test_view_of_flat_batch_has_all_parts(samples, make_batch):
    batch = make_batch(samples[:3])
    view = view_batch(batch)
    assert view.num_structures == 3
    assert view.atom_counts.tolist() == [len(s["pos"]) for s in samples[:3]]
    assert view.name(2) == "sample 'test/000002'"
    assert torch.equal(view.edge_index, batch["edge_index"])
    assert view.cell.shape == (3, 3, 3)
    assert view.pos.dtype == torch.float64
    assert count_sizes(batch) == (3, len(batch["pos"]), batch["edge_index"].shape[1])


def test_view_reads_natoms_and_src_nodes(samples, make_batch):
    full = make_batch(samples[:3])
    batch = {k: v for k, v in full.items() if k not in ("batch", "edge_index")}
    batch["src_nodes"], batch["dst_nodes"] = full["edge_index"]
    view = view_batch(batch)
    assert torch.equal(view.structure_of, full["batch"])
    assert torch.equal(view.edge_index, full["edge_index"])
    assert count_sizes(batch) == count_sizes(full)


def test_view_reads_pyg_batch(samples):
    data = pytest.importorskip("torch_geometric.data", reason="needs torch-geometric")
    graphs = []
    for sample in samples[:3]:
        fields = {k: sample[k] for k in ("atomic_numbers", "pos", "edge_index", "offsets", "cell")}
        graphs.append(data.Data(**fields, natoms=torch.tensor([len(sample["pos"])])))
    graph = data.Batch.from_data_list(graphs)
    for batch in (graph, {"graph": graph, "sample_id": [s["sample_id"] for s in samples[:3]]}):
        view = view_batch(batch)
        assert view.num_structures == 3
        assert view.atom_counts.tolist() == [len(s["pos"]) for s in samples[:3]]
        assert view.cell.shape == (3, 3, 3)
        assert count_sizes(batch) == (3, graph.num_nodes, graph.num_edges)
    assert view.name(1) == "sample 'test/000001'"
    assert view_batch(graph).name(1) == "structure 1 of the batch"
    single = view_batch(graphs[0])
    assert (single.num_structures, count_sizes(graphs[0])[0]) == (1, 1)


def test_batch_without_positions_has_no_view():
    x, y = torch.ones(6, 2), torch.ones(6)
    for batch in ((x, y), [x, y], {"x": x, "y": y}, x):
        assert view_batch(batch) is None
        assert count_sizes(batch) == (6, None, None)
    assert view_batch({"pos": torch.ones(2, 5, 3)}) is None  # padded point clouds
    assert count_sizes(None) == (None, None, None)


def test_sample_ids_are_strings():
    assert sample_ids_of({"sample_id": ["a", "b"]}) == ["a", "b"]
    assert sample_ids_of({"sample_id": "a"}) == ["a"]
    assert sample_ids_of({"sample_id": torch.tensor([1])}) is None
    assert sample_ids_of((1, 2)) is None


def test_view_drops_mismatched_shapes():
    batch = {"pos": torch.zeros(4, 3), "natoms": torch.tensor([2, 2]), "cell": torch.ones(1, 3, 3)}
    batch["atomic_numbers"] = torch.ones(3)
    view = view_batch(batch)
    assert view.num_structures == 2
    assert view.cell is None
    assert view.atomic_numbers is None
