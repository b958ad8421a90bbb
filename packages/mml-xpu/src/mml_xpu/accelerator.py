"""The Intel GPU accelerator: Lightning's accelerator interface, implemented with torch.xpu.

`XPUAcceleratorMixin` implements the behavior. `for_pytorch_lightning.py` and `for_lightning.py` combine it
with the `Accelerator` base class of each Lightning package.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from mml_xpu import devices as xpu_devices
from mml_xpu import tiles

logger = logging.getLogger(__name__)


class MixedPrecisionPlugin(Protocol):
    """The attributes of Lightning's MixedPrecision plugin that the accelerator changes."""

    device: str
    scaler: torch.amp.GradScaler | None


class XPUAcceleratorMixin:
    """Accelerator for Intel GPUs, based on torch's own XPU support (torch >= 2.8).

    Raises
    ------
    MisconfigurationException
        If torch does not find an Intel GPU. The message contains the reason and the install command.
    """

    misconfiguration: ClassVar[type[Exception]]
    """MisconfigurationException class. Each Lightning package has its own."""
    mixed_precision: ClassVar[type[MixedPrecisionPlugin]]
    """MixedPrecision plugin class of Lightning."""
    cuda_ddp: ClassVar[type]
    """DDPStrategy class of Lightning."""
    portable_checkpoint_io: ClassVar[type]
    """Class that saves the checkpoints. See :class:`mml_xpu.checkpoints.PortableCheckpointIOMixin`."""
    saving_strategies: ClassVar[tuple[type, ...]]
    """Strategies that save through their `checkpoint_io`. FSDP and DeepSpeed use other file formats."""

    def __init__(self) -> None:
        # Raise here, because Lightning would only report that the accelerator "is not available". This error
        # includes the reason.
        super().__init__()
        if not self.is_available():
            raise self.misconfiguration(f"accelerator 'xpu' is not available: {xpu_devices.why_none()}")

    @staticmethod
    def name() -> str:
        """Return "xpu", the name in Lightning's registry."""
        return "xpu"

    @staticmethod
    def is_available() -> bool:
        """Return whether torch can use an Intel GPU on this machine. Never raises an error."""
        return xpu_devices.device_count() > 0

    @staticmethod
    def auto_device_count() -> int:
        """Return the number of devices for `devices="auto"`, which selects all Intel GPUs."""
        return xpu_devices.device_count()

    @classmethod
    def parse_devices(cls, devices: int | str | Sequence[int]) -> list[int]:
        """Return the device indices that `devices` selects. See :func:`mml_xpu.devices.parse_devices`.

        A warning is issued for each card of which the selected devices use only some tiles.

        Parameters
        ----------
        devices
            The Trainer's `devices` argument.

        Returns
        -------
        list of int
            Device indices in the requested order.

        Raises
        ------
        MisconfigurationException
            If a device does not exist, no device is selected, or the same device is selected twice.
        TypeError
            If `devices` is not a number, a string or a list of numbers.
        """
        count = xpu_devices.device_count()
        try:
            indices = xpu_devices.parse_devices(devices, count)
            found = tiles.places(tiles.read_cards(), count, os.environ)
        except ValueError as error:
            raise cls.misconfiguration(str(error)) from None
        for message in tiles.half_idle(found, indices) if found else ():
            rank_zero_warn(message)
        return indices

    @staticmethod
    def get_parallel_devices(devices: Sequence[int]) -> list[torch.device]:
        """Return one `torch.device` per index."""
        return [torch.device("xpu", index) for index in devices]

    def setup_device(self, device: torch.device) -> None:
        """Make `device` the current device of this process.

        Raises
        ------
        MisconfigurationException
            If the device is not an Intel GPU or does not exist.
        """
        if device.type != "xpu":
            raise self.misconfiguration(
                f"accelerator 'xpu' got device {str(device)!r}, because the Trainer's strategy is for other "
                "devices. Pass strategy='single_xpu' for one Intel GPU or strategy='ddp_xpu' for several, or "
                "call mml_xpu.enable_auto() before you create the Trainer."
            )
        count = xpu_devices.device_count()
        if device.index is not None and device.index >= count:
            raise self.misconfiguration(
                f"Device {str(device)!r} does not exist. torch finds {count} Intel GPU(s)."
            )
        torch.xpu.set_device(device)

    def setup(self, trainer: Any) -> None:
        """Make checkpoints store CPU tensors, and mixed precision use the Intel GPU.

        Lightning's registries do not cover mixed precision, so its plugin is for CUDA if the Trainer creates
        it. The autocast of such a plugin silently has no effect on Intel GPUs.

        Parameters
        ----------
        trainer
            The Trainer that uses this accelerator.

        Raises
        ------
        MisconfigurationException
            If the strategy is Lightning's own DDP strategy, which opens a CUDA stream.
        """
        strategy = trainer.strategy
        if type(strategy) is self.cuda_ddp:
            raise self.misconfiguration(
                "accelerator 'xpu' does not support Lightning's DDPStrategy, which opens a CUDA stream. Pass "
                "strategy='ddp_xpu' or strategy=mml_xpu.DDPXPUStrategy(...), or call mml_xpu.enable_auto() "
                "before you create the Trainer."
            )
        plugin = trainer.precision_plugin
        if isinstance(plugin, self.mixed_precision) and plugin.device == "cuda":
            plugin.device = "xpu"
            if plugin.scaler is not None:
                plugin.scaler = torch.amp.GradScaler("xpu")  # a scaler for CUDA is disabled on this machine
        if isinstance(strategy, self.saving_strategies):
            io = strategy.checkpoint_io  # type: ignore[attr-defined]
            if not isinstance(io, self.portable_checkpoint_io):
                strategy.checkpoint_io = self.portable_checkpoint_io(io)  # type: ignore[attr-defined]

    def get_device_stats(self, device: str | torch.device | int) -> dict[str, int]:
        """Return the memory statistics of `device`.

        Returns
        -------
        dict
            Sizes in bytes. Each key is `xpu_memory_` followed by `allocated`, `reserved`, `peak_allocated` or
            `peak_reserved` (for this process), `total`, or `free` (for all processes). `free` is missing if
            the driver does not report it.
        """
        stats = {
            "allocated": torch.xpu.memory_allocated(device),
            "reserved": torch.xpu.memory_reserved(device),
            "peak_allocated": torch.xpu.max_memory_allocated(device),
            "peak_reserved": torch.xpu.max_memory_reserved(device),
            "total": torch.xpu.get_device_properties(device).total_memory,
        }
        try:
            stats["free"] = torch.xpu.mem_get_info(device)[0]
        except RuntimeError as error:
            logger.debug("The driver does not report the free memory of %s: %s", device, error)
        return {f"xpu_memory_{key}": value for key, value in stats.items()}

    def teardown(self) -> None:
        """Release the memory that torch caches to the driver."""
        if self.is_available():
            torch.xpu.empty_cache()
