"""What a device computes and how fast: numbers of one device beside those of the CPU.

The devices are arguments, so the same checks run on the CPU, where they compare it with itself.
"""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import torch

TOLERANCE = 1e-3
"""Of a float32 result, relative to the largest number of the CPU's: other summation orders, and TF32 off."""
BF16_TOLERANCE = 2e-2
"""Of a bfloat16 result: the type keeps 8 bits, so one rounding is up to 2^-9 = 0.002."""


class Comparison(NamedTuple):
    """A result on a device beside that on the CPU."""

    what: str
    difference: float
    """Largest absolute difference, relative to the largest absolute number of the CPU's result."""
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is a number and within the tolerance."""
        return self.difference <= self.tolerance


class Rate(NamedTuple):
    """How fast a device multiplies matrices."""

    teraflops: float
    """Median, in 10^12 floating-point operations a second; 2 n^3 operations for n x n matrices."""
    size: int
    repeats: int


def relative_difference(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Return max |result - expected| / max |expected|: NaN where either holds one.

    Parameters
    ----------
    result, expected
        Tensors of one shape, on any devices.
    """
    result, expected = result.detach().cpu().double(), expected.detach().cpu().double()
    return float((result - expected).abs().max() / expected.abs().max())


def compare_matmul(device: torch.device, dtype: torch.dtype, size: int = 512) -> Comparison:
    """Multiply two random matrices on `device` and, in float64, on the CPU.

    Parameters
    ----------
    device
        To be checked.
    dtype
        Type of the matrices; their entries are drawn from a normal distribution.
    size
        Rows and columns.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(dtype) for _ in range(2))
    result = a.to(device) @ b.to(device)
    tolerance = BF16_TOLERANCE if dtype is torch.bfloat16 else TOLERANCE
    what = f"{str(dtype).removeprefix('torch.')} matrix product"
    return Comparison(what, relative_difference(result, a.double() @ b.double()), tolerance)


def compare_training_step(device: torch.device, autocast: bool = False) -> Comparison:
    """Take three steps of SGD on `device` and, in float32, on the CPU, and compare the parameters' changes.

    Parameters
    ----------
    device
        To be checked.
    autocast
        Whether the steps on `device` run under bfloat16 autocast.
    """
    expected = _train(torch.device("cpu"), autocast=False)
    tolerance = BF16_TOLERANCE if autocast else TOLERANCE
    what = "training steps" + (", bfloat16 autocast" if autocast else ", float32")
    return Comparison(what, relative_difference(_train(device, autocast), expected), tolerance)


def _train(device: torch.device, autocast: bool) -> torch.Tensor:
    """Return how much three steps change the parameters of a small network, as one vector."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.SiLU(), torch.nn.Linear(64, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * draw(*parameter.shape))
    start = torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])
    inputs, targets = draw(128, 32).to(device), draw(128, 1).to(device)
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            prediction = model(inputs)
        torch.nn.functional.mse_loss(prediction.float(), targets).backward()
        optimizer.step()
    return torch.cat([parameter.detach().cpu().flatten() for parameter in model.parameters()]) - start


def matmul_rate(device: torch.device, size: int, repeats: int = 10) -> Rate:
    """Time bfloat16 products of two matrices, after two that are not counted.

    Parameters
    ----------
    device
        To be timed.
    size
        Rows and columns.
    repeats
        Number of products that are timed.
    """
    a = torch.ones(size, size, dtype=torch.bfloat16, device=device)
    b = torch.ones(size, size, dtype=torch.bfloat16, device=device)
    seconds = []
    for repeat in range(repeats + 2):
        _synchronize(device)
        start = time.perf_counter()
        torch.mm(a, b)
        _synchronize(device)
        if repeat >= 2:
            seconds.append(time.perf_counter() - start)
    return Rate(2 * size**3 / statistics.median(seconds) / 1e12, size, repeats)


def _synchronize(device: torch.device) -> None:
    if device.type == "xpu":
        torch.xpu.synchronize(device)
