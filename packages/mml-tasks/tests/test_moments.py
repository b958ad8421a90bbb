from typing import NamedTuple

import pytest
import torch
from mml_tasks import TensorRegressionTask, VectorRegressionTask
from mml_tasks.testing import ToyEncoder, random_structure, toy_batch, toy_graph
from torch import Tensor


class Embeddings(NamedTuple):
    system_embedding: Tensor
    point_embedding: Tensor
    point_vectors: Tensor


class VectorEncoder(ToyEncoder):
    """Encoder with one vector for each atom, weighted by the elements of its neighbors."""

    vector_dim = 1

    def forward(self, batch):
        system, points = super().forward(batch)
        graph = batch["graph"]
        source, target = graph.edge_index
        between = graph.pos[target] + graph.offsets - graph.pos[source]
        pulls = (between * graph.atomic_numbers[target].view(-1, 1)).unsqueeze(1) / 50
        return Embeddings(system, points, pulls.new_zeros(len(points), 1, 3).index_add(0, source, pulls))


def rotation(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]


def batch_of(seed, turn=None, shift=0.0, molecules=False):
    turn = torch.eye(3, dtype=torch.float64) if turn is None else turn
    graphs = []
    for offset in range(3):
        numbers, pos, cell = random_structure(10 * seed + offset, 2 + offset)
        graph = toy_graph(numbers, (pos + shift) @ turn, cell @ turn)
        if molecules:
            inside = graph.offsets.norm(dim=1) < 1e-9
            graph.edge_index, graph.offsets = graph.edge_index[:, inside], graph.offsets[inside]
        graphs.append(graph)
    batch = toy_batch(graphs)
    batch["graph"].pbc = torch.full((3, 3), not molecules)
    return batch


SOURCES = [(VectorEncoder, "auto", False), (ToyEncoder, "auto", False), (ToyEncoder, "charges", True)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("encoder", "source", "molecules"), SOURCES)
def test_vectors_rotate_with_structure(seed, encoder, source, molecules):
    torch.manual_seed(seed)
    task = VectorRegressionTask(encoder(), task_keys=["dipole"], vector_source=source).double()
    turn = rotation(seed)
    vectors = task.predict(batch_of(seed, molecules=molecules))["dipole"]
    assert vectors.shape == (3, 3)
    assert vectors.norm(dim=1).min() > 1e-7
    moved = task.predict(batch_of(seed, turn, shift=3.0, molecules=molecules))["dipole"]
    torch.testing.assert_close(moved, vectors @ turn)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_tensors_rotate_with_structure(seed, reduction):
    torch.manual_seed(seed)
    task = TensorRegressionTask(ToyEncoder(), task_keys=["eps"], embedding_reduction_type=reduction).double()
    turn = rotation(seed)
    tensors = task.predict(batch_of(seed))["eps"]
    assert tensors.shape == (3, 3, 3)
    torch.testing.assert_close(tensors, tensors.mT)
    isotropic = tensors.diagonal(dim1=1, dim2=2).mean(1).view(-1, 1, 1) * torch.eye(3)
    assert (tensors - isotropic).norm(dim=(1, 2)).min() > 1e-7
    moved = task.predict(batch_of(seed, turn, shift=2.0))["eps"]
    torch.testing.assert_close(moved, turn.T @ tensors @ turn)


@pytest.mark.parametrize("source", ["edges", "charges"])
def test_homonuclear_dimer_has_no_dipole(source):
    numbers, pos = torch.tensor([7, 7]), torch.tensor([[0.0, 0, 0], [0, 0, 1.1]], dtype=torch.float64)
    dimer = toy_graph(numbers, pos, 30 * torch.eye(3, dtype=torch.float64))
    task = VectorRegressionTask(ToyEncoder(), task_keys=["dipole"], vector_source=source).double()
    torch.testing.assert_close(task.predict(toy_batch([dimer]))["dipole"], torch.zeros(1, 3).double())
    dimer.atomic_numbers = torch.tensor([7, 8])
    assert task.predict(toy_batch([dimer]))["dipole"].abs().max() > 1e-6


def test_free_atom_has_no_dipole_and_isotropic_tensor():
    atom = toy_graph(torch.tensor([3]), torch.zeros(1, 3).double(), 30 * torch.eye(3).double())
    assert atom.edge_index.shape == (2, 0)
    for source in ("edges", "charges"):
        task = VectorRegressionTask(ToyEncoder(), task_keys=["dipole"], vector_source=source).double()
        assert not task.predict(toy_batch([atom]))["dipole"].any()
    tensor = TensorRegressionTask(ToyEncoder(), task_keys=["eps"]).double().predict(toy_batch([atom]))["eps"]
    assert torch.equal(tensor[0], tensor[0, 0, 0] * torch.eye(3).double())


def test_dipole_of_charges_is_learned():
    """The vectors of neutral molecules with fixed charges of the elements are fitted to a few percent."""
    torch.manual_seed(0)
    batch = batch_of(5, molecules=True)
    graph = batch["graph"]
    charges = (graph.atomic_numbers.double() - 45) / 45
    sums = torch.zeros(3).double().index_add(0, graph.batch, charges) / graph.natoms
    moments = (charges - sums[graph.batch]).view(-1, 1) * graph.pos
    batch["targets"] = {"dipole": torch.zeros(3, 3).double().index_add(0, graph.batch, moments)}
    task = VectorRegressionTask(ToyEncoder(), task_keys=["dipole"], vector_source="charges").double()
    optimizer = torch.optim.Adam(task.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss = task.training_step(batch, 0)
        loss.backward()
        optimizer.step()
    assert loss < 0.01 * batch["targets"]["dipole"].square().mean()


def test_targets_follow_from_kind(data, make_trainer, monkeypatch):
    facts = {
        "gap": {"kind": "scalar"},
        "dipole": {"kind": "vector", "rms": 2.0},
        "stress": {"kind": "tensor"},
    }
    facts["eps"] = {"kind": "tensor", "rms": [[3.0] * 3] * 3}
    assert VectorRegressionTask(ToyEncoder()).infer_task_keys(facts) == ["dipole"]
    assert TensorRegressionTask(ToyEncoder()).infer_task_keys(facts) == ["eps"]
    for graph, targets in data.samples:
        targets["dipole"] = graph.pos.sum(0, keepdim=True)
    numbers = {"dipole": {"kind": "vector", "rms": 2.0, "mean": 1.0, "std": 1.0}}
    monkeypatch.setattr(type(data), "target_statistics", lambda self: numbers)
    task = VectorRegressionTask(ToyEncoder(), normalize_kwargs="auto")
    make_trainer().fit(task, data)
    assert (task.normalizers["dipole"].mean.item(), task.normalizers["dipole"].std.item()) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pbc", r"sample 'toy/000001' is periodic, but vector_source=\"charges\" requires molecules"),
        ("charge", r"sample 'toy/000002' has charge -1, but vector_source=\"charges\" requires neutral"),
    ],
)
def test_charges_are_for_neutral_molecules(change, message):
    batch = batch_of(1, molecules=True)
    if change == "pbc":
        batch["graph"].pbc[1, 2] = True
    else:
        batch["charge"] = torch.tensor([[0.0], [torch.nan], [-1.0]])
    task = VectorRegressionTask(ToyEncoder(), task_keys=["dipole"], vector_source="charges").double()
    with pytest.raises(ValueError, match=message):
        task.predict(batch)


def test_invalid_arguments_are_refused():
    encoder = ToyEncoder()
    with pytest.raises(ValueError, match="vector_source must be one of"):
        VectorRegressionTask(encoder, task_keys=["dipole"], vector_source="bonds")
    with pytest.raises(ValueError, match="requires an encoder with a vector_dim"):
        VectorRegressionTask(encoder, task_keys=["dipole"], vector_source="encoder")
    encoder.cutoff = None
    with pytest.raises(ValueError, match=r"has cutoff=None\. Pass vector_cutoff"):
        TensorRegressionTask(encoder, task_keys=["eps"])
    with pytest.raises(ValueError, match="dipole_mean must be zero"):
        VectorRegressionTask(ToyEncoder(), task_keys=["dipole"], normalize_kwargs={"dipole_mean": 1.0})
