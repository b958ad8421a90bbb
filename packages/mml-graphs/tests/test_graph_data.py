import pytest
import torch
from mml_graphs.graph_data import kind_by_name, kind_of

CELL = torch.eye(3)[None]


@pytest.mark.parametrize(
    ("name", "value", "n_nodes", "n_edges", "kind"),
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
def test_what_a_value_belongs_to(name, value, n_nodes, n_edges, kind):
    assert kind_of(name, value, n_nodes, n_edges) == kind


def test_what_a_name_tells():
    assert [kind_by_name(name) for name in ("magmom", "edge_type", "cell", "energy")] == [
        "node",
        "edge",
        "whole",
        None,
    ]
