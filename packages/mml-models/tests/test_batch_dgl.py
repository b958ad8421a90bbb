from __future__ import annotations

import importlib.util
import os

import pytest
import torch
from mml_models import EGNN, GenericEncoder, MEGNet, PaiNN, SchNet
from mml_models.batch import read_graph
from mml_models.testing import crystal_batch, random_crystal

CUTOFF = 4.0


@pytest.fixture(scope="module")
def dgl():
    """Return the module dgl, or skip the test if it is not installed."""
    if importlib.util.find_spec("dgl") is None:
        pytest.skip("dgl is not installed: it has wheels for Python 3.11 and earlier only")
    os.environ.setdefault("DGLBACKEND", "pytorch")  # without it, dgl writes a file to the home folder
    return pytest.importorskip("dgl", exc_type=ImportError)


def batches(dgl, *, periodic=True):
    """Return the same structures as a batch of PyG and as a batch of DGL."""
    cells = {} if periodic else {"cell": None}
    crystals = [random_crystal(seed, num_atoms) for seed, num_atoms in ((0, 3), (1, 1), (2, 4))]
    crystals = [type(c)(c.numbers, c.pos, cells.get("cell", c.cell)) for c in crystals]
    both = crystal_batch(crystals, CUTOFF)
    graphs = []
    for part in both["graph"].to_data_list():
        center, neighbor = part.edge_index
        graph = dgl.graph((center, neighbor), num_nodes=part.num_nodes)
        graph.ndata.update({"atomic_numbers": part.atomic_numbers, "pos": part.pos})
        graph.edata["offsets"] = part.offsets
        graph.ndata["whole.pbc"] = part.pbc.expand(part.num_nodes, 1, 3)
        if periodic:
            graph.ndata["whole.cell"] = part.cell.expand(part.num_nodes, 1, 3, 3)
        graphs.append(graph)
    return both, {**both, "graph": dgl.batch(graphs)}


def energy_and_forces(encoder, batch, pos):
    found = encoder(batch)
    energy = found.system_embedding.square().sum() + found.point_embedding.sin().sum()
    return found, -torch.autograd.grad(energy, pos)[0]


def neighbors_numbers(z, pos, edge_index, edge_vectors, batch):
    reach = (1 - edge_vectors.norm(dim=1) / CUTOFF).square() * z[edge_index[1]]
    return pos.new_zeros(len(z)).index_add(0, edge_index[0], reach).unsqueeze(1)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("encoder", [EGNN, MEGNet, PaiNN, SchNet, GenericEncoder])
def test_energies_and_forces_equal_pyg(dgl, encoder, periodic):
    torch.manual_seed(0)
    options = {"fn": neighbors_numbers, "output_dim": 1} if encoder is GenericEncoder else {"hidden_dim": 8}
    made = encoder(cutoff=CUTOFF, **options).double()
    with_pyg, with_dgl = batches(dgl, periodic=periodic)
    found = []
    for batch, pos in ((with_pyg, with_pyg["graph"].pos), (with_dgl, with_dgl["graph"].ndata["pos"])):
        found.append(energy_and_forces(made, batch, pos.requires_grad_()))
    (of_pyg, pyg_forces), (of_dgl, dgl_forces) = found
    torch.testing.assert_close(of_dgl.system_embedding, of_pyg.system_embedding, rtol=0, atol=1e-6)
    torch.testing.assert_close(of_dgl.point_embedding, of_pyg.point_embedding, rtol=0, atol=1e-6)
    torch.testing.assert_close(dgl_forces, pyg_forces, rtol=0, atol=1e-6)


def test_unbatched_dgl_graph_is_one_structure(dgl):
    graph = dgl.unbatch(batches(dgl)[1]["graph"])[0]
    assert read_graph({"graph": graph}).num_structures == 1


def test_incomplete_dgl_graph_raises(dgl):
    batch = batches(dgl)[1]
    del batch["graph"].edata["offsets"]
    with pytest.raises(ValueError, match=r"periodic .* but has no 'offsets'"):
        read_graph(batch)
    del batch["graph"].ndata["pos"]
    with pytest.raises(ValueError, match=r"of type dgl.DGLGraph has no 'pos'\. Add PointCloudToGraph"):
        read_graph(batch)


def test_graph_of_several_types_raises(dgl):
    ends = (torch.tensor([0]), torch.tensor([1]))
    graph = dgl.heterograph({("a", "to", "a"): ends, ("a", "back", "a"): ends})
    with pytest.raises(ValueError, match=r"node types \['a'\] and edge types \['back', 'to'\], expected one"):
        read_graph({"graph": graph})
