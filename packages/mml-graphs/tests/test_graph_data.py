import numpy as np
import pytest
import torch
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_graphs.libraries.graph_data import join_ends, kind_by_name, kind_of

CELL = torch.eye(3)[None]


@pytest.mark.parametrize(
    ("name", "value", "num_nodes", "num_edges", "kind"),
    [
        ("charge", torch.ones(3), 3, 5, "node"),
        ("weight", torch.ones(5), 3, 5, "edge"),
        ("weight", torch.ones(2, 4), 3, 5, "whole"),
        # as many edges as nodes: a ring, or two atoms that see each other
        ("charge", torch.ones(2), 2, 2, "node"),
        ("edge_attr", torch.ones(2, 8), 2, 2, "edge"),
        ("offsets", torch.ones(2, 3), 2, 2, "edge"),
        # one atom, one edge
        ("pos", torch.ones(1, 3), 1, 1, "node"),
        ("cell", CELL, 1, 1, "whole"),
        ("y", torch.ones(1), 1, 1, "whole"),
        ("y", torch.ones(2), 2, 0, "node"),
        ("distances", torch.ones(0), 1, 0, "edge"),
        # three atoms are no reason to take a cell apart
        ("cell", CELL[0], 3, 9, "whole"),
        ("pbc", torch.ones(3), 9, 3, "whole"),
        ("face", torch.ones(3, 7), 3, 5, "whole"),
        ("edge_label_index", torch.ones(2, 7), 2, 7, "whole"),
        ("total", torch.tensor(1.0), 1, 1, "whole"),
        ("smiles", "CO", 2, 2, "whole"),
        ("sites", [1, 2], 2, 1, "whole"),
    ],
)
def test_what_a_value_belongs_to(name, value, num_nodes, num_edges, kind):
    assert kind_of(name, value, num_nodes, num_edges) == kind


def test_what_a_name_tells():
    assert [kind_by_name(name) for name in ("magmom", "edge_type", "cell", "energy")] == [
        "node",
        "edge",
        "whole",
        None,
    ]


def test_rows_of_one_tensor_are_not_copied():
    ends = torch.tensor([[0, 1, 2], [1, 2, 0]])
    assert join_ends(*ends.unbind()) is ends
    for src, dst in (
        (ends[1], ends[0]),
        (ends[0], ends[0]),
        (ends[0].clone(), ends[1]),
        ends[:, :2].unbind(),
    ):
        joined = join_ends(src, dst)
        assert joined is not ends
        assert torch.equal(joined, torch.stack([src, dst]))
    columns = ends.T  # of which each is every second number
    assert torch.equal(join_ends(columns[0], columns[1]), columns[:2])


def test_large_graphs_share_ends():
    rng = np.random.default_rng(0)
    positions, cell = rng.uniform(0, 31, (1500, 3)), np.eye(3) * 31
    sample = {"atomic_numbers": np.ones(1500, int), "pos": positions, "cell": cell}
    made = PointCloudToGraphTransform("pyg")(PeriodicPropertiesTransform(5.0, on_isolated="allow")(sample))
    assert made["graph"].edge_index.data_ptr() == made["src_nodes"].data_ptr()
    assert torch.equal(made["graph"].edge_index, torch.stack([made["src_nodes"], made["dst_nodes"]]))
