"""The classes and the registries of this package for `lightning.pytorch`.

Importing this module registers the classes.
"""

from __future__ import annotations

import sys
from typing import ClassVar

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from lightning.pytorch.plugins import CheckpointIO, MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, StrategyRegistry
from lightning.pytorch.trainer import trainer as trainer_module

from mml_xpu import selection
from mml_xpu.accelerator import MixedPrecisionPlugin, XPUAcceleratorMixin
from mml_xpu.checkpoints import PortableCheckpointIOMixin
from mml_xpu.ddp import DDPXPUStrategyMixin
from mml_xpu.registration import register_classes
from mml_xpu.strategy import SingleXPUStrategyMixin

__all__ = [
    "AcceleratorRegistry",
    "DDPStrategy",
    "DDPXPUStrategy",
    "MisconfigurationException",
    "MixedPrecision",
    "PortableCheckpointIO",
    "SingleDeviceStrategy",
    "SingleXPUStrategy",
    "StrategyRegistry",
    "XPUAccelerator",
    "trainer_module",
]


class PortableCheckpointIO(PortableCheckpointIOMixin, CheckpointIO):
    """Checkpoint plugin for `lightning.pytorch`.

    See :class:`mml_xpu.checkpoints.PortableCheckpointIOMixin`.
    """


class XPUAccelerator(XPUAcceleratorMixin, Accelerator):
    """Intel GPU accelerator for `lightning.pytorch`.

    See :class:`mml_xpu.accelerator.XPUAcceleratorMixin`.
    """

    misconfiguration: ClassVar[type[Exception]] = MisconfigurationException
    mixed_precision: ClassVar[type[MixedPrecisionPlugin]] = MixedPrecision
    cuda_ddp: ClassVar[type] = DDPStrategy
    portable_checkpoint_io: ClassVar[type] = PortableCheckpointIO
    saving_strategies: ClassVar[tuple[type, ...]] = (SingleDeviceStrategy, DDPStrategy)


class SingleXPUStrategy(SingleXPUStrategyMixin, SingleDeviceStrategy):
    """Strategy for one Intel GPU with `lightning.pytorch`.

    See :class:`mml_xpu.strategy.SingleXPUStrategyMixin`.
    """


class DDPXPUStrategy(DDPXPUStrategyMixin, DDPStrategy):
    """Strategy for several Intel GPUs with `lightning.pytorch`.

    See :class:`mml_xpu.ddp.DDPXPUStrategyMixin`.
    """

    @classmethod
    def register_strategies(cls, strategy_registry: object) -> None:
        """Do nothing. Lightning's implementation would register the names of its own DDP strategies again."""


register_classes(sys.modules[__name__])
XPUConnector = selection.connector_class(sys.modules[__name__])
selection.add(sys.modules[__name__])
