from __future__ import annotations

import pytest
import torch
from mml_models.batch import AtomGraph
from mml_models.elements import ElementEmbedding


def graph(*numbers, structure=None):
    z = torch.tensor(numbers)
    where = torch.zeros_like(z) if structure is None else torch.tensor(structure)
    return AtomGraph(z, torch.zeros(len(z), 3), torch.zeros(2, 0, dtype=torch.int64), None, where, 2)


def test_elements_have_distinct_vectors():
    embedding = ElementEmbedding(4, 100)
    numbers = range(1, 101)
    embedding.check(graph(*numbers), {})
    vectors = embedding(torch.tensor(numbers))
    assert vectors.shape == (100, 4)
    assert len(torch.unique(vectors, dim=0)) == 100


@pytest.mark.parametrize("number", [-3, 0, 101])
def test_number_out_of_range_raises(number):
    found = graph(1, 2, number, structure=[0, 0, 1])
    with pytest.raises(ValueError, match=f"Element {number} of sample 'b' is outside .* from 1 to 100"):
        ElementEmbedding(4, 100).check(found, {"sample_id": ["a", "b"]})


def test_unlisted_element_raises():
    embedding = ElementEmbedding(4, 100, [79, 13])
    embedding.check(graph(13, 79), {})
    with pytest.raises(
        ValueError,
        match=r"Element 29 of sample 0 of the batch is not one of .* elements \[13, 79\]\. Add it",
    ):
        embedding.check(graph(13, 29), {})
    with pytest.raises(ValueError, match="Element 101 of sample 0 of the batch is outside"):
        embedding.check(graph(101), {})


def test_invalid_list_raises():
    with pytest.raises(
        ValueError, match=r"elements must be from 1 to num_atom_embedding=100, got \[0, 120\]\. Remove"
    ):
        ElementEmbedding(4, 100, [0, 13, 120])
    with pytest.raises(ValueError, match=r"elements must be atomic numbers, .* got \['Li'\]"):
        ElementEmbedding(4, 100, ["Li", 13])
    with pytest.raises(ValueError, match="elements is empty"):
        ElementEmbedding(4, 100, [])
