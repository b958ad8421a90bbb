import numpy as np
import pytest
import torch
from mml_graphs.graph_parts import GRAPH_KEYS, graph_parts, is_periodic
from mml_graphs.periodic import PeriodicPropertiesTransform
from pymatgen.core import Lattice, Structure

CRYSTAL = {"atomic_numbers": [6, 8], "pos": [[0.0, 0, 0], [1.5, 1.5, 1.5]], "cell": np.eye(3) * 3}
MOLECULE = {"atomic_numbers": [8, 1], "pos": [[0.0, 0, 0], [0.0, 0.6, 0.8]]}
PAIR = {"src_nodes": torch.tensor([0, 1]), "dst_nodes": torch.tensor([1, 0])}


def test_is_periodic():
    assert is_periodic(CRYSTAL)
    assert not is_periodic(MOLECULE)
    assert not is_periodic({**CRYSTAL, "pbc": [False] * 3})
    assert is_periodic({**MOLECULE, "lattice_params": [3, 3, 3, 1.5, 1.5, 1.5]})
    assert is_periodic({"structure": Structure(Lattice.cubic(3), ["C"], [[0, 0, 0]])})
    assert not is_periodic({"structure": Structure(Lattice(np.eye(3), pbc=(False,) * 3), ["C"], [[0, 0, 0]])})


def test_takes_what_the_sample_holds():
    sample = PeriodicPropertiesTransform(3.0)(CRYSTAL)
    parts = graph_parts(sample)
    tensors = {**parts.nodes, **parts.edges, **parts.whole}
    assert set(tensors) | {"edge_index"} == GRAPH_KEYS
    for key in ("atomic_numbers", "pos", "offsets", "images", "distances", "cell"):
        assert tensors[key] is sample[key] or torch.equal(tensors[key], sample[key]), key
    assert torch.equal(parts.src, sample["src_nodes"])
    assert torch.equal(parts.dst, sample["dst_nodes"])
    assert tensors["natoms"].tolist() == [2]
    assert tensors["pbc"].tolist() == [[True] * 3]


def test_completes_edges_without_geometry():
    bonds = graph_parts({**MOLECULE, **PAIR}).edges
    assert not bonds["images"].any()
    assert not bonds["offsets"].any()
    torch.testing.assert_close(bonds["distances"], torch.ones(2))
    images = torch.tensor([[0.0, 0, 1], [0, 0, -1]])
    across = graph_parts({**CRYSTAL, **PAIR, "images": images}).edges
    torch.testing.assert_close(across["offsets"], images * 3)
    torch.testing.assert_close(across["distances"], torch.full((2,), (2 * 1.5**2 + 4.5**2) ** 0.5))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({**CRYSTAL, **PAIR}, "'images' of the edges are missing, and the sample is periodic"),
        (
            {**MOLECULE, **PAIR, "dst_nodes": torch.tensor([2, 0])},
            "contains 2, expected atom indices from 0 to 1",
        ),
        ({**MOLECULE, **PAIR, "src_nodes": torch.tensor([0, -1])}, "contains -1, expected atom indices"),
        (
            {**MOLECULE, **PAIR, "src_nodes": torch.tensor([0])},
            r"must both have shape \[E\], got \[1\] and \[2\]",
        ),
        (
            {**MOLECULE, **PAIR, "images": torch.zeros(3, 3)},
            r"'images' has shape \[3, 3\], expected \[2, 3\] for 2 edges",
        ),
        ({**MOLECULE, **PAIR, "offsets": torch.zeros(2)}, r"'offsets' has shape \[2\]"),
        ({**MOLECULE, **PAIR, "distances": torch.zeros(2, 1)}, r"'distances' has shape \[2, 1\]"),
        ({**MOLECULE, **PAIR, "pos": [[0.0, 0, 0]]}, r"'pos' has shape \[1, 3\], expected \[2, 3\]"),
    ],
)
def test_bad_edges_raise(sample, message):
    with pytest.raises(ValueError, match=message):
        graph_parts(sample)
