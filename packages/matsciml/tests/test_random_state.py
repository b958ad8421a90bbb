import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from matsciml.runs.random_state import get_random_state, set_random_state

CPU = torch.device("cpu")


def draw():
    return random.random(), random.gauss(0, 1), np.random.normal(), torch.rand(3).tolist()  # noqa: NPY002


@given(st.integers(0, 5))
def test_restored_state_repeats_numbers(earlier):
    for _ in range(earlier):
        draw()
    state = get_random_state(CPU)
    expected = [draw() for _ in range(3)]
    set_random_state(state, CPU)
    assert [draw() for _ in range(3)] == expected


def test_state_is_saved_without_pickles(tmp_path):
    state = get_random_state(CPU)
    expected = draw()
    torch.save(state, tmp_path / "state.pt")
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True), CPU)
    assert draw() == expected
