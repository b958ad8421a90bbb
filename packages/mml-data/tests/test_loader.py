import pytest
import torch
from mml_data.loading.loader import ResumableDataLoader
from mml_data.loading.sampler import EpochSampler
from torch.utils.data import DataLoader, RandomSampler

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),  # Python 3.12, workers of torch
    # Lightning 2.6 with torch 2.15; not ours.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class Numbers(torch.utils.data.Dataset):
    def __init__(self, size):
        self.size, self.read = size, []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read.append(index)
        return index


def batches(loader):
    return [batch.tolist() for batch in loader]


def test_state_counts_consumed_batches():
    whole = ResumableDataLoader(Numbers(11), 3, sampler=EpochSampler(range(11), 3, seed=4))
    whole.sampler.set_epoch(2)
    expected = batches(whole)
    ahead = ResumableDataLoader(Numbers(11), 3, sampler=EpochSampler(range(11), 3, seed=4), num_workers=1)
    ahead.sampler.set_epoch(2)
    iterator = iter(ahead)
    assert next(iterator).tolist() == expected[0]
    state = ahead.state_dict()
    assert state["consumed"] == 1
    rest = ResumableDataLoader(Numbers(11), 3, sampler=EpochSampler(range(11), 3, seed=4))
    rest.load_state_dict(state)
    assert batches(rest) == expected[1:]
    assert rest.dataset.read == [index for batch in expected[1:] for index in batch]
    assert len(rest) == 4
    rest.sampler.set_epoch(3)
    assert len(batches(rest)) == 4


def test_iterating_keeps_random_state():
    loader = ResumableDataLoader(Numbers(4), 2)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    batches(loader)
    assert torch.equal(before, torch.get_rng_state())


def test_other_samplers_raise():
    with pytest.raises(TypeError, match="must be an EpochSampler, got RandomSampler"):
        ResumableDataLoader(Numbers(3), 1, sampler=RandomSampler(range(3)))
    assert isinstance(ResumableDataLoader(Numbers(3)), DataLoader)
