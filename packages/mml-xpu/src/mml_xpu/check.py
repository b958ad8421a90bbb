"""Checks of a device's numerical results and speed, compared with the CPU.

The device is an argument of every check. On the CPU, a check compares the CPU with itself.
"""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import torch

TOLERANCE = 1e-3
"""Tolerance of a float32 result, relative to the largest absolute value on the CPU.

It allows for a different summation order, but not for TF32.
"""
BF16_TOLERANCE = 2e-2
"""Tolerance of a bfloat16 result. With 8 significant bits, the relative error is up to 2^-9 = 0.002."""


class Comparison(NamedTuple):
    """Comparison of a result on a device with the result on the CPU."""

    what: str
    difference: float
    """Largest absolute difference, relative to the largest absolute value of the CPU's result."""
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance. False if the difference is NaN."""
        return self.difference <= self.tolerance


class Rate(NamedTuple):
    """The speed at which a device multiplies matrices."""

    teraflops: float
    """Median rate in 10^12 floating-point operations per second. An n x n product takes 2 n^3 of them."""
    size: int
    repeats: int


def relative_difference(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Return max |result - expected| / max |expected|, or NaN if either tensor contains NaN.

    Parameters
    ----------
    result, expected
        Tensors of the same shape, on any devices.
    """
    result, expected = result.detach().cpu().double(), expected.detach().cpu().double()
    return float((result - expected).abs().max() / expected.abs().max())


def compare_matmul(device: torch.device, dtype: torch.dtype, size: int = 512) -> Comparison:
    """Compare a product of two random matrices on `device` with the float64 product on the CPU.

    Parameters
    ----------
    device
        Device to check.
    dtype
        Data type of the matrices. Their entries are drawn from a standard normal distribution.
    size
        Number of rows and columns.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(dtype) for _ in range(2))
    result = a.to(device) @ b.to(device)
    tolerance = BF16_TOLERANCE if dtype is torch.bfloat16 else TOLERANCE
    what = f"{str(dtype).removeprefix('torch.')} matrix product"
    return Comparison(what, relative_difference(result, a.double() @ b.double()), tolerance)


def compare_training_step(device: torch.device, autocast: bool = False) -> Comparison:
    """Compare the parameter changes of three SGD steps on `device` with those in float32 on the CPU.

    Parameters
    ----------
    device
        Device to check.
    autocast
        Whether the steps on `device` run under bfloat16 autocast.
    """
    expected = _train(torch.device("cpu"), autocast=False)
    tolerance = BF16_TOLERANCE if autocast else TOLERANCE
    what = "training steps" + (", bfloat16 autocast" if autocast else ", float32")
    return Comparison(what, relative_difference(_train(device, autocast), expected), tolerance)


def _train(device: torch.device, autocast: bool) -> torch.Tensor:
    """Return the changes of a small network's parameters after three training steps, as one vector."""
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
    """Measure the rate of bfloat16 matrix products, after two products for warm-up.

    Parameters
    ----------
    device
        Device to measure.
    size
        Number of rows and columns.
    repeats
        Number of timed products.
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
