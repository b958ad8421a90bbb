import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.loading.sampler import EpochSampler, epoch_order


@given(
    size=st.integers(1, 60),
    ranks=st.integers(1, 5),
    batch_size=st.integers(1, 7),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_ranks_read_everything_once(size, ranks, batch_size, shuffle, epoch):
    shares = []
    for rank in range(ranks):
        sampler = EpochSampler(
            range(size), batch_size, shuffle=shuffle, seed=3, num_replicas=ranks, rank=rank
        )
        sampler.set_epoch(epoch)
        shares.append(list(sampler))
        assert len(sampler) == len(shares[-1])
    read = [index for share in shares for index in share]
    assert set(read) == set(range(size))
    assert len({math.ceil(len(share) / batch_size) for share in shares}) == 1
    left_over = size % (ranks * batch_size)
    repeats_needed = ranks - left_over if 0 < left_over < ranks else 0
    assert len(read) == size + repeats_needed


def test_seed_and_epoch_determine_order():
    np.testing.assert_array_equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert sorted(epoch_order(50, 1, 2)) == list(range(50))
    sampler = EpochSampler(range(50), 4, seed=1)
    sampler.set_epoch(2)
    assert list(sampler) == list(sampler) == epoch_order(50, 1, 2).tolist()


def test_unshuffled_sampler_keeps_order():
    assert list(EpochSampler(range(7), 4, shuffle=False)) == list(range(7))
    assert list(EpochSampler(range(7), 4, shuffle=False, num_replicas=2, rank=1)) == [1, 3, 5]


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match="the data set has no samples"):
        EpochSampler(range(0), 1)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        EpochSampler(range(1), 1, seed=-1)
