"""Compare every kernel with its plain implementation, in eager mode and compiled."""

from __future__ import annotations

import importlib
import pkgutil

import mml_models
import pytest
import torch
from mml_models import SchNet
from mml_models.batch import read_graph
from mml_models.layers import edge_rows
from mml_models.layers.edge_network import Weights
from mml_models.layers.edges import edges_within
from mml_models.layers.pairs import find_pairs
from mml_models.once_differentiable import once_differentiable
from mml_models.testing import CHECKS, crystal_batch, random_crystal
from mml_models.traced import KERNELS

# Import all modules, so that KERNELS contains the kernels of all of them.
MODULES = [
    importlib.import_module(found.name) for found in pkgutil.walk_packages(mml_models.__path__, "mml_models.")
]
BATCH = crystal_batch([random_crystal(0, 2), random_crystal(1, 1)], 4.4)
EDGES = edges_within(read_graph(BATCH), 4.4, torch.float64)
PAIRS = find_pairs(EDGES)
ROWS = edge_rows.edge_rows(EDGES, PAIRS, 3)
NUM_PAIRS = len(ROWS.first)


def edge_network(a, b, c, u, *weights, function):
    received, pulls = function(a, b, c, u, Weights(*weights), mml_models.layers.activations.SiLU(), ROWS)
    return torch.cat((received.flatten(), pulls))


def convolution(values, filters, *, function):
    return function(values, filters, EDGES, PAIRS, (1, 2))


def elementwise(x, *, function):
    return function(x)


def products(x, y, *, function):
    return torch.stack((function(x, y, both=True), function(x, y, both=False)))


# A function of tensors that calls the kernel, and the shapes of the tensors.
EXAMPLES = {
    "mml_models.layers.activations.silu": (elementwise, [(5,)]),
    "mml_models.layers.activations.shifted_softplus": (elementwise, [(5,)]),
    "mml_models.layers.convolution.convolve": (convolution, [(3, 3, 2), (NUM_PAIRS, 2, 2)]),
    "mml_models.layers.edge_network.run_edge_network": (
        edge_network,
        [(3, 3), (3, 3), (NUM_PAIRS, 3), (NUM_PAIRS, 1), (3, 3), (3,), (3, 3), (3,), (3,)],
    ),
    "mml_models.layers.tensors._product": (products, [(3, 9, 2), (3, 9, 2)]),
}


def derivatives(function, shapes):
    """Return the value, its derivatives, and the gradients of a loss on these derivatives."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator).double().requires_grad_() for shape in shapes]
    value = function(*inputs)
    slopes = torch.autograd.grad(value.sin().sum(), inputs, create_graph=True)
    loss = sum(slope.sin().sum() for slope in slopes)
    return [value, *slopes, *torch.autograd.grad(loss, inputs)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_kernel_derivatives_equal_plain(name):
    example, shapes = EXAMPLES[name]
    fast, plain = (
        derivatives(lambda *x, f=function: example(*x, function=f), shapes) for function in KERNELS[name]
    )
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf")
def test_compiled_derivatives_equal_eager(name):
    example, shapes = EXAMPLES[name]
    module, function = name.rsplit(".", 1)
    kernel = getattr(importlib.import_module(module), function)
    torch.compiler.reset()

    def call(*tensors):
        return example(*tensors, function=kernel)

    compiled = derivatives(torch.compile(call, backend="eager", fullgraph=True), shapes)
    torch.testing.assert_close(compiled, derivatives(call, shapes), rtol=1e-10, atol=1e-10)


def test_every_kernel_has_example():
    assert set(EXAMPLES) == set(KERNELS)


def test_every_autograd_function_has_kernel():
    """A function without a kernel loses its second derivatives under `torch.compile`."""
    functions = {
        module.__name__
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, torch.autograd.Function)
        and value.__module__ == module.__name__
    }
    kernels = {name.rsplit(".", 1)[0] for name in KERNELS}
    assert functions == kernels | {once_differentiable.__module__}


class Undifferentiable(SchNet):
    compiled_second_derivatives = False


@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf")
def test_declared_encoder_raises_if_trained_compiled():
    torch.manual_seed(0)
    encoder = Undifferentiable(hidden_dim=4, num_conv=1, cutoff=4.4).double()
    CHECKS["second_derivatives"](encoder, random_crystal(1), 4.4, 0)
    CHECKS["compiled_second_derivatives"](encoder, random_crystal(1), 4.4, 0)
    encoder.compile(backend="eager")
    pos = BATCH["graph"].pos = BATCH["graph"].pos.requires_grad_()
    energy = encoder(BATCH).system_embedding.sum()
    torch.autograd.grad(energy, pos, retain_graph=True)  # forces without training are allowed
    with pytest.raises(RuntimeError, match=r"compiled_second_derivatives is False in its class"):
        torch.autograd.grad(energy, pos, create_graph=True)
