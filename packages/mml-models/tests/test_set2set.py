from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_models.layers.set2set import Set2Set
from mml_samples import optional_module

DIM = 4


def reader(num_steps=3):
    torch.manual_seed(0)
    return Set2Set(DIM, num_steps).double()


def sets(seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    members = 3.0 * torch.randn(sum(sizes), DIM, generator=generator, dtype=torch.float64)
    weights = torch.rand(sum(sizes), generator=generator, dtype=torch.float64)
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = torch.randperm(sum(sizes), generator=generator)
    return members[order], owner[order], weights[order]


@given(st.integers(0, 10**6), st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(1, 3))
def test_readout_equals_formula(seed, sizes, num_steps):
    read = reader(num_steps)
    members, owner, weights = sets(seed, sizes)
    floor = torch.arange(1.0, 1.0 + len(sizes), dtype=torch.float64)
    found = read(members, owner, weights, floor)
    for which in range(len(sizes)):
        x, w = members[owner == which], weights[owner == which]
        last, state = torch.zeros(2 * DIM).double(), (torch.zeros(DIM).double(), torch.zeros(DIM).double())
        for _ in range(num_steps):
            state = read.ask(last, state)
            shares = w * torch.exp(x @ state[0])
            last = torch.cat((state[0], shares @ x / (floor[which] + shares.sum())))
        torch.testing.assert_close(found[which], last)


def test_unit_weights_equal_pyg():
    pyg = optional_module("torch_geometric.nn.aggr", "torch-geometric", "the comparison")
    read, peer = reader(), pyg.Set2Set(DIM, 3).double()
    peer.lstm.load_state_dict({f"{name}_l0": value for name, value in read.ask.state_dict().items()})
    members, owner, weights = sets(1, [3, 1, 4])
    order = owner.argsort(stable=True)
    members, owner = members[order], owner[order]
    found = read(members, owner, torch.ones_like(weights), torch.zeros(3).double())
    torch.testing.assert_close(found, peer(members, owner))


def test_large_scores_do_not_overflow():
    members, owner, weights = sets(2, [3, 2])
    assert bool(reader()(1e4 * members, owner, weights, torch.ones(2).double()).isfinite().all())


def test_empty_set_has_zero_answer():
    members, owner, weights = sets(3, [2, 0])
    found = reader()(members, owner, weights, torch.ones(2).double())
    assert not found[1, DIM:].any()
    assert found[0, DIM:].any()
