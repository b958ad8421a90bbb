"""The classes of this package in the hierarchy of `pytorch_lightning`, and its registries."""

from __future__ import annotations

from typing import ClassVar

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import SingleDeviceStrategy, StrategyRegistry

from mml_xpu.accelerator import XPUAcceleratorMixin
from mml_xpu.strategy import SingleXPUStrategyMixin

__all__ = ["AcceleratorRegistry", "SingleXPUStrategy", "StrategyRegistry", "XPUAccelerator"]


class XPUAccelerator(XPUAcceleratorMixin, Accelerator):
    """Intel GPUs for `pytorch_lightning`: see :class:`mml_xpu.accelerator.XPUAcceleratorMixin`."""

    misconfiguration: ClassVar[type[Exception]] = MisconfigurationException
    mixed_precision: ClassVar[type] = MixedPrecision


class SingleXPUStrategy(SingleXPUStrategyMixin, SingleDeviceStrategy):
    """One Intel GPU for `pytorch_lightning`: see :class:`mml_xpu.strategy.SingleXPUStrategyMixin`."""
