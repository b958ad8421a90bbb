from __future__ import annotations

import pytest
import torch
from mml_models.adapters.element_types import ElementTypes
from mml_models.batch import AtomGraph


def test_indices_follow_order_of_model():
    types = ElementTypes([79, 13, 29])
    assert types(torch.tensor([13, 13, 79, 29])).tolist() == [1, 1, 0, 2]
    assert "places" not in types.state_dict()


def test_other_element_raises():
    numbers = torch.tensor([13, 28])
    graph = AtomGraph(
        numbers, torch.zeros(2, 3), torch.zeros(2, 0, dtype=torch.int64), None, torch.zeros_like(numbers), 1
    )
    with pytest.raises(ValueError, match=r"Element 28 of .* is not one of .* elements \[13, 29, 79\]"):
        ElementTypes([79, 13, 29]).check(graph, {})


@pytest.mark.parametrize(("numbers", "message"), [([], "elements is empty"), ([0, 3], r"got \[0\]")])
def test_invalid_elements_raise(numbers, message):
    with pytest.raises(ValueError, match=message):
        ElementTypes(numbers)
