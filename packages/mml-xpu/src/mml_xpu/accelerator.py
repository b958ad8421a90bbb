"""The Intel GPU accelerator: what Lightning asks of an accelerator, answered by torch.xpu.

`XPUAcceleratorMixin` holds the behaviour; `for_pytorch_lightning.py` and `for_lightning.py` join it with the
`Accelerator` base class of each Lightning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from mml_xpu import devices as xpu_devices
from mml_xpu import tiles

log = logging.getLogger(__name__)


class XPUAcceleratorMixin:
    """Accelerator for Intel GPUs, through torch's own XPU support (torch >= 2.8).

    Raises
    ------
    MisconfigurationException
        No Intel GPU is visible to torch; the message says why and what to install.
    """

    misconfiguration: ClassVar[type[Exception]]
    """Lightning's MisconfigurationException: each Lightning has one of its own."""
    mixed_precision: ClassVar[type]
    """Lightning's MixedPrecision plugin."""
    portable_checkpoint_io: ClassVar[type]
    """What saves the checkpoints: see :class:`mml_xpu.checkpoints.PortableCheckpointIOMixin`."""
    saving_strategies: ClassVar[tuple[type, ...]]
    """Strategies that save through their `checkpoint_io`; FSDP and DeepSpeed have formats of their own."""

    def __init__(self) -> None:
        # Lightning, having made one, would only say that it "is not available": here the reason can be told.
        super().__init__()
        if not self.is_available():
            raise self.misconfiguration(f"accelerator 'xpu': {xpu_devices.why_none()}.")

    @staticmethod
    def name() -> str:
        """Return "xpu", the name in Lightning's registry."""
        return "xpu"

    @staticmethod
    def is_available() -> bool:
        """Whether torch can use an Intel GPU here; never raises."""
        return xpu_devices.device_count() > 0

    @staticmethod
    def auto_device_count() -> int:
        """Return the number of Intel GPUs that `devices="auto"` takes: all of them."""
        return xpu_devices.device_count()

    @classmethod
    def parse_devices(cls, devices: int | str | Sequence[int]) -> list[int]:
        """Return the indices that `devices` asks for: see :func:`mml_xpu.devices.parse_devices`.

        It warns where they leave a part of a card idle.

        Raises
        ------
        MisconfigurationException
            A device that does not exist, none, or the same one twice.
        TypeError
            Not a number, a string or a list of numbers.
        """
        count = xpu_devices.device_count()
        try:
            indices = xpu_devices.parse_devices(devices, count)
            found = tiles.places(tiles.read_cards(), count, os.environ)
        except ValueError as error:
            raise cls.misconfiguration(str(error)) from None
        for sentence in tiles.half_idle(found, indices) if found else ():
            rank_zero_warn(sentence)
        return indices

    @staticmethod
    def get_parallel_devices(devices: Sequence[int]) -> list[torch.device]:
        """Return one `torch.device` per index."""
        return [torch.device("xpu", index) for index in devices]

    def setup_device(self, device: torch.device) -> None:
        """Make `device` the current one of this process.

        Raises
        ------
        MisconfigurationException
            It is not an Intel GPU, or not one that exists.
        """
        if device.type != "xpu":
            raise self.misconfiguration(
                f"accelerator 'xpu' was given the device {str(device)!r}, by a strategy for other "
                "devices: leave the strategy out, or pass Trainer(accelerator='xpu', devices=1, "
                "strategy='single_xpu')."
            )
        count = xpu_devices.device_count()
        if device.index is not None and device.index >= count:
            raise self.misconfiguration(
                f"device {str(device)!r} does not exist: torch sees {count} Intel GPU(s)."
            )
        torch.xpu.set_device(device)

    def setup(self, trainer: Any) -> None:
        """Have checkpoints hold CPU tensors, and refuse mixed precision for CUDA.

        The latter's autocast would do nothing here, without a word.

        Raises
        ------
        MisconfigurationException
            The Trainer's precision plugin is one for CUDA.
        """
        plugin = trainer.precision_plugin
        if isinstance(plugin, self.mixed_precision) and plugin.device == "cuda":  # type: ignore[attr-defined]
            precision = plugin.precision  # type: ignore[attr-defined]
            raise self.misconfiguration(
                f"accelerator 'xpu' with MixedPrecision({precision!r}, 'cuda'), which does nothing on an "
                f"Intel GPU: pass Trainer(precision={precision!r}), or "
                f"plugins=[MixedPrecision({precision!r}, 'xpu')]"
            )
        strategy = trainer.strategy
        if isinstance(strategy, self.saving_strategies):
            io = strategy.checkpoint_io  # type: ignore[attr-defined]
            if not isinstance(io, self.portable_checkpoint_io):
                strategy.checkpoint_io = self.portable_checkpoint_io(io)  # type: ignore[attr-defined]

    def get_device_stats(self, device: str | torch.device | int) -> dict[str, Any]:
        """Return memory figures of `device`, in bytes.

        Returns
        -------
        dict
            `xpu_memory_` and one of `allocated`, `reserved`, `peak_allocated`, `peak_reserved` (of this
            process), `total`, and `free` (all processes) where the driver tells, which not all do.
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
            log.debug("the driver does not say how much memory of %s is free: %s", device, error)
        return {f"xpu_memory_{key}": value for key, value in stats.items()}

    def teardown(self) -> None:
        """Give the memory that torch caches back to the driver."""
        if self.is_available():
            torch.xpu.empty_cache()
