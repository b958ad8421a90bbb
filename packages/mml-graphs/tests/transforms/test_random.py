import pytest
import torch
from mml_graphs.transforms._random import check_seed, generator_for

POS = torch.arange(6.0).reshape(2, 3)


def draw(positions, seed):
    return torch.rand(3, generator=generator_for(positions, seed)).tolist()


def test_seeded_numbers_depend_on_positions_and_seed():
    state = torch.get_rng_state()
    assert draw(POS, 1) == draw(POS.clone(), 1)
    assert draw(POS, 1) != draw(POS, 2)
    assert draw(POS, 1) != draw(POS + 1, 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_unseeded_numbers_follow_the_global_generator():
    torch.manual_seed(5)
    first, second = draw(POS, None), draw(POS, None)
    torch.manual_seed(5)
    assert draw(POS, None) == first
    assert first != second


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True])
def test_bad_seeds_raise(seed):
    with pytest.raises(ValueError, match="seed must be None or a non-negative integer"):
        check_seed(seed)
