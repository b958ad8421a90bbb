from __future__ import annotations

import pytest
import torch
from mml_models import EGNN, GraphEncoder
from mml_models.elements import ElementEmbedding
from mml_models.testing import crystal_batch, random_crystal


def small(**options):
    torch.manual_seed(0)
    return EGNN(**{"hidden_dim": 8, "output_dim": 5, "num_conv": 1, "cutoff": 4.0, **options})


def batch(radius=4.0):
    return crystal_batch([random_crystal(seed, 2 + seed) for seed in range(2)], radius)


def test_system_embedding_pools_atoms():
    total, mean = (small(reduction=reduction)(batch()) for reduction in ("sum", "mean"))
    points = total.point_embedding
    expected = torch.stack([points[:2].sum(dim=0), points[2:].sum(dim=0)])
    torch.testing.assert_close(total.system_embedding, expected)
    torch.testing.assert_close(mean.system_embedding, expected / torch.tensor([[2.0], [3.0]]))


def test_embeddings_have_dtype_of_parameters():
    single, double = batch(), batch()
    single["graph"].pos, single["graph"].offsets = (
        single["graph"].pos.float(),
        single["graph"].offsets.float(),
    )
    encoder = small()
    found = [encoder(each).point_embedding for each in (single, double)]
    assert [each.dtype for each in found] == [torch.float32, torch.float32]
    torch.testing.assert_close(*found)


def test_radius_below_cutoff_raises():
    with pytest.raises(
        ValueError, match=r"edges up to 3.5 angstrom, but the encoder's cutoff is 4 angstrom, .* Lower"
    ):
        small()(batch(3.5))


def test_larger_or_rounded_radius_is_accepted():
    encoder = small(cutoff=4.1)
    grown = batch(4.1)
    grown["cutoff_radius"] = torch.tensor([[4.1], [6.0]])
    encoder(grown)
    del grown["cutoff_radius"]
    encoder(grown)


def test_unknown_element_names_sample():
    found = {**batch(), "sample_id": ["emt/000007", "emt/000008"]}
    with pytest.raises(ValueError, match=r"Element 13 of sample 'emt/00000[78]' is not one of"):
        small(elements=[29, 79])(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "max"}, "reduction must be 'sum' or 'mean', got 'max'"),
        ({"cutoff": 0.0}, "cutoff must be a positive length in angstrom, got 0.0"),
        ({"cutoff": float("nan")}, "cutoff must be a positive length in angstrom, got nan"),
        ({"cutoff": float("inf")}, "cutoff must be a positive length in angstrom, got inf"),
        ({"hidden_dim": 7.5}, "hidden_dim must be an integer, got 7.5"),
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, got 0"),
        ({"output_dim": -1}, "output_dim must be at least 1, got -1"),
        ({"num_conv": 0}, "num_conv must be at least 1, got 0"),
        ({"num_atom_embedding": 0}, "num_atom_embedding must be at least 1, got 0"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_subclass_needs_only_embed_atoms():
    class Coordination(GraphEncoder):
        def embed_atoms(self, atomic_numbers, edges):
            return torch.bincount(edges.center, minlength=len(atomic_numbers)).unsqueeze(1).float()

    encoder = Coordination(1, 4.0, "sum", ElementEmbedding(1, 100))
    found = batch(5.0)
    graph = found["graph"]
    lengths = (graph.pos[graph.edge_index[1]] + graph.offsets - graph.pos[graph.edge_index[0]]).norm(dim=1)
    assert float(encoder(found).system_embedding.sum()) == float((lengths < 4.0).sum())
