from __future__ import annotations

import pytest
import torch
from mml_models.adapters.weights import load_weights
from torch import nn


def model():
    torch.manual_seed(len(str(torch.initial_seed())))
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.part, self.head = model(), nn.Linear(1, 1)


@pytest.mark.parametrize("whole", [False, True])
def test_state_dict_or_part_is_loaded(tmp_path, whole):
    source = Whole()
    torch.save(source.state_dict() if whole else source.part.state_dict(), tmp_path / "w.pt")
    target = model()
    with torch.no_grad():
        target[0].weight.zero_()
    load_weights(target, tmp_path / "w.pt", "part.")
    for name, value in source.part.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_pickled_objects_are_not_executed(tmp_path):
    torch.save(model(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt is damaged, or contains pickled objects"):
        load_weights(model(), tmp_path / "model.pt")


def test_mismatches_are_all_named(tmp_path):
    state = model().state_dict()
    state["2.bias"] = state.pop("1.bias")
    state["0.weight"] = torch.zeros(3, 4)
    torch.save(state, tmp_path / "w.pt")
    message = r"1\.bias is missing, 2\.bias is unexpected, 0\.weight has shape \[3, 4\], expected \[3, 2\]"
    with pytest.raises(ValueError, match=message):
        load_weights(model(), tmp_path / "w.pt")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {"a": torch.zeros(1)}}, torch.zeros(2)])
def test_other_content_raises(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="must contain a state_dict, a dict of name to tensor"):
        load_weights(model(), tmp_path / "w.pt")


def test_missing_or_damaged_file_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_weights(model(), tmp_path / "none.pt")
    (tmp_path / "w.pt").write_bytes(b"not a file of torch")
    with pytest.raises(ValueError, match="is damaged"):
        load_weights(model(), tmp_path / "w.pt")
