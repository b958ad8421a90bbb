from types import SimpleNamespace

import pytest
import torch
from mml_samples import atom_counts, graph_of, structure_index

NUMBERS = torch.tensor([1, 1, 8, 26, 8])


def graph(**attributes):
    return SimpleNamespace(atomic_numbers=NUMBERS, **attributes)


def test_graph_is_returned_as_it_is():
    one = graph()
    assert graph_of({"graph": one}) is one


@pytest.mark.parametrize("batch", [{"pos": 1}, {"pos": 1, "graph": None}])
def test_batch_without_graph_raises(batch):
    with pytest.raises(
        ValueError, match=r"no 'graph', its keys are \['.*pos'\]\. Add PointCloudToGraphTransform"
    ):
        graph_of(batch)


def test_graph_instead_of_batch_raises():
    with pytest.raises(
        TypeError, match="must be a dict with a graph under the key 'graph', got a SimpleNamespace"
    ):
        graph_of(graph())


@pytest.mark.parametrize(
    "attributes",
    [
        {"natoms": torch.tensor([3, 2]), "batch": torch.tensor([0, 0, 0, 1, 1])},
        {"natoms": torch.tensor([[3], [2]]), "batch": torch.tensor([0, 0, 0, 1, 1])},
        {"ptr": torch.tensor([0, 3, 5])},
        {"batch": torch.tensor([0, 0, 0, 1, 1])},
    ],
)
def test_counts_come_from_any_attribute(attributes):
    assert atom_counts(graph(**attributes)).tolist() == [3, 2]


def test_graph_without_batch_is_one_structure():
    assert atom_counts(graph()).tolist() == [5]
    assert structure_index(graph()).tolist() == [0] * 5
    assert structure_index(graph(batch=torch.arange(5))).tolist() == [0, 1, 2, 3, 4]
