import pytest
import torch
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import library_of, take_apart
from mml_graphs.transforms._graphs import atoms_of, change_atoms, update_graph

WATER = {"atomic_numbers": [8, 1, 1], "pos": torch.eye(3), "charge": torch.zeros(3)}


@pytest.fixture
def sample(library):
    return PointCloudToGraphTransform(library)(WATER)


def double(atoms):
    return {"pos": atoms["pos"] * 2}


def test_updated_graph_is_a_new_one_of_its_library(sample, library):
    graph = update_graph(sample["graph"], nodes=double, whole=lambda _: {"energy": torch.ones(1)})
    assert library_of(graph) == library
    assert torch.equal(take_apart(graph).nodes["pos"], torch.eye(3) * 2)
    assert take_apart(graph).whole["energy"].tolist() == [1.0]
    assert torch.equal(take_apart(sample["graph"]).nodes["pos"], torch.eye(3))


def test_change_applies_to_sample_and_graph(sample):
    changed = change_atoms(sample, "pos", double)
    assert torch.equal(changed["pos"], torch.eye(3) * 2)
    assert torch.equal(take_apart(changed["graph"]).nodes["pos"], torch.eye(3) * 2)
    assert torch.equal(sample["pos"], torch.eye(3))


def test_keys_missing_in_the_graph_are_read_from_the_sample(sample):
    assert atoms_of(sample, "charge") is sample
    assert "charge" not in atoms_of(sample, "pos")
    with pytest.raises(ValueError, match="'spin' is missing in the sample and in its graph"):
        change_atoms(sample, "spin", double)


def test_missing_positions_are_added():
    sample = {"atomic_numbers": [1], "frac_coords": [[0.5, 0, 0]], "cell": torch.eye(3) * 4}
    changed = change_atoms(sample, "pos", lambda atoms: {"shifted": atoms["pos"] + 1})
    assert changed["pos"].tolist() == [[2.0, 0, 0]]
    assert changed["shifted"].tolist() == [[3.0, 1, 1]]
