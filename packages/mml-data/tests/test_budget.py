import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data import LMDBDataset, MatSciMLDataModule, devset_path
from mml_data.loading.budget import BudgetSampler, pack
from torch.utils.data import Dataset

counts = st.lists(st.integers(1, 40), min_size=1, max_size=80)


def sampler(atoms, max_atoms=60, edges=None, max_edges=None, **options):
    sizes = {"max_atoms": np.array(atoms)} | ({} if edges is None else {"max_edges": np.array(edges)})
    budgets = {"max_atoms": max_atoms} | ({} if max_edges is None else {"max_edges": max_edges})
    return BudgetSampler(range(len(atoms)), sizes, budgets, **options)


@given(counts, st.integers(40, 90), st.integers(1, 4), st.booleans(), st.integers(0, 2), st.booleans())
def test_ranks_read_everything_once_within_budgets(atoms, budget, ranks, shuffle, epoch, with_edges):
    edges = [3 * size + 1 for size in atoms]
    extra = {"edges": edges, "max_edges": 130} if with_edges else {}
    shares = []
    for rank in range(ranks):
        one = sampler(atoms, budget, shuffle=shuffle, seed=3, num_replicas=ranks, rank=rank, **extra)
        one.set_epoch(epoch)
        shares.append(list(one))
        assert shares[-1] == list(one)
        assert len(one) == len(shares[-1])
    assert len({len(share) for share in shares}) == 1
    read = [index for share in shares for batch in share for index in batch]
    assert set(read) == set(range(len(atoms)))
    if len(atoms) >= 2 * ranks * len(shares[0]):
        assert len(read) == len(atoms)
    for share in shares:
        for batch in share:
            assert batch
            assert sum(atoms[index] for index in batch) <= budget
            if with_edges:
                assert sum(edges[index] for index in batch) <= 130


@given(counts, st.integers(0, 20))
def test_epochs_change_order_not_count(atoms, seed):
    one = sampler(atoms, seed=seed)
    orders = []
    for epoch in range(3):
        one.set_epoch(epoch)
        batches = list(one)
        assert len(batches) == len(one)
        orders.append(batches)
    one.set_epoch(0)
    assert list(one) == orders[0]
    if len(set(atoms)) > 10:
        assert orders[0] != orders[1]


def test_unshuffled_batches_keep_order():
    batches = list(sampler([10, 20, 30, 10, 40, 5, 60], shuffle=False))
    assert batches == [[0, 1, 2], [3, 4, 5], [6]]


def test_ranks_finish_together():
    atoms = np.random.default_rng(0).integers(1, 40, 3000)
    shares = [list(sampler(atoms, 200, seed=1, num_replicas=4, rank=rank)) for rank in range(4)]
    loads = np.array([[atoms[batch].sum() for batch in share] for share in shares])
    slowest = loads.max(axis=0).sum()
    assert slowest <= 1.02 * loads.mean(axis=0).sum()


@pytest.mark.parametrize("budget", [64, 128, 256, 512])
def test_prototype_batches_are_full(budget):
    num_atoms = LMDBDataset(devset_path("prototypes"), split="train").sizes()
    filled = []
    for epoch in range(3):
        one = sampler(num_atoms, budget, seed=2)
        one.set_epoch(epoch)
        filled += [num_atoms[batch].sum() / budget for batch in one]
    assert np.mean(filled) >= 0.92


def test_packing_is_best_fit():
    assert pack(np.array([[6], [5], [4], [5]]), np.array([10]), np.arange(4)) == [[0, 2], [1, 3]]


def test_invalid_budgets_raise():
    with pytest.raises(ValueError, match="sample 2 has the size 70, which exceeds max_atoms=60; increase"):
        sampler([10, 20, 70])
    with pytest.raises(ValueError, match="no budget is given; pass max_atoms or max_edges"):
        BudgetSampler(range(3), {}, {})
    with pytest.raises(ValueError, match="max_atoms must be at least 1, got 0"):
        sampler([10], 0)
    with pytest.raises(ValueError, match="max_edges must be at least 1, got -5"):
        MatSciMLDataModule("emt", max_edges=-5)


def test_data_module_fills_batches(stored):
    data = MatSciMLDataModule(train_path=stored, max_atoms=12, seed=1)
    batches = list(data.train_dataloader())
    assert all(int(batch["natoms"].sum()) <= 12 for batch in batches)
    assert sorted(one for batch in batches for one in batch["sample_id"]) == sorted(
        sample["sample_id"] for sample in data.parts["train"]
    )
    in_order = [one for batch in data.val_dataloader() for one in batch["sample_id"]]
    assert in_order == [sample["sample_id"] for sample in data.parts["val"]]
    assert len(list(data.predict_dataloader())) == 1


def test_unrecorded_sizes_raise(stored):
    with pytest.raises(
        ValueError, match=r"does not record 'nedges' of its samples.* store them with precompute\(\)"
    ):
        MatSciMLDataModule(train_path=stored, max_edges=100).train_dataloader()
    samples = [{"atomic_numbers": np.ones(1, int)}] * 3
    with pytest.raises(ValueError, match="does not record the sizes of its samples, which budgets require"):
        MatSciMLDataModule(Listed(samples), max_atoms=100).train_dataloader()


class Listed(Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]
