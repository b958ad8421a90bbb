import pytest
import torch
from mml_models.once_differentiable import once_differentiable


def test_first_derivative_is_identity():
    values = torch.randn(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(once_differentiable(values).square().sum(), values)
    torch.testing.assert_close(gradient, 2 * values.detach())


def test_second_derivative_raises():
    values = torch.randn(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="has no second derivatives"):
        torch.autograd.grad(once_differentiable(values).square().sum(), values, create_graph=True)
