"""The classes of this package in the hierarchy of `lightning.pytorch`, and its registries."""

from __future__ import annotations

from typing import ClassVar

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import SingleDeviceStrategy, StrategyRegistry

from mml_xpu.accelerator import XPUAcceleratorMixin
from mml_xpu.strategy import SingleXPUStrategyMixin

__all__ = ["AcceleratorRegistry", "SingleXPUStrategy", "StrategyRegistry", "XPUAccelerator"]


class XPUAccelerator(XPUAcceleratorMixin, Accelerator):
    """Intel GPUs for `lightning.pytorch`: see :class:`mml_xpu.accelerator.XPUAcceleratorMixin`."""

    misconfiguration: ClassVar[type[Exception]] = MisconfigurationException
    mixed_precision: ClassVar[type] = MixedPrecision


class SingleXPUStrategy(SingleXPUStrategyMixin, SingleDeviceStrategy):
    """One Intel GPU for `lightning.pytorch`: see :class:`mml_xpu.strategy.SingleXPUStrategyMixin`."""
