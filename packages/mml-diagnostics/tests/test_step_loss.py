import pytest
import torch
from mml_diagnostics.step_loss import loss_in


@pytest.mark.parametrize("wrap", [lambda loss: loss, lambda loss: {"loss": loss, "more": 1}])
def test_loss_is_detached_scalar(wrap):
    loss = torch.tensor(1.5, requires_grad=True) * 2
    found = loss_in(wrap(loss))
    assert found.item() == 3.0
    assert not found.requires_grad


def test_loss_per_structure_is_averaged():
    assert loss_in(torch.tensor([1, 2, 6])).item() == 3.0


@pytest.mark.parametrize("outputs", [None, {}, {"loss": 1.0}, "loss"])
def test_outputs_without_loss_give_none(outputs):
    assert loss_in(outputs) is None
