import random

import numpy as np
import pytest
import torch
from mml_data.random_state import random_state_kept, seed_sample


def draw():
    """Draw a number from each global generator."""
    return float(torch.rand(())), np.random.rand(), random.random()  # noqa: NPY002


@pytest.mark.parametrize("error", [None, ValueError])
def test_generators_are_restored(error):
    with random_state_kept():
        expected = draw()
    try:
        with random_state_kept():
            draw()
            if error is not None:
                raise error
    except ValueError:
        pass
    with random_state_kept():
        assert draw() == expected


def test_seed_epoch_and_index_determine_numbers():
    drawn = {}
    with random_state_kept():
        for key in [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (1, 0, 0)]:
            seed_sample(*key)
            numbers = draw()
            assert drawn.setdefault(key, numbers) == numbers
    for column in range(3):
        assert len({numbers[column] for numbers in drawn.values()}) == 4
