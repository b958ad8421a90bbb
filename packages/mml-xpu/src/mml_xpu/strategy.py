"""Training on one Intel GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pytorch_lightning.strategies import SingleDeviceStrategy as _Base
else:
    _Base = object


class SingleXPUStrategyMixin(_Base):
    """Strategy for one Intel GPU: `Trainer(accelerator="xpu", devices=1, strategy="single_xpu")`.

    Parameters
    ----------
    device
        The device: an index, "xpu:1" or a `torch.device`. Left out, or plain "xpu": what the
        Trainer's `devices` names.
    **kwargs
        Arguments of Lightning's `SingleDeviceStrategy`: accelerator, checkpoint_io, precision_plugin.

    Raises
    ------
    ValueError
        `device` is no Intel GPU, or the Trainer asks for more than one.
    """

    strategy_name = "single_xpu"

    def __init__(self, device: int | str | torch.device | None = None, **kwargs: Any) -> None:
        if device is None or str(device) == "xpu":
            chosen = torch.device("xpu", 0)
        else:
            chosen = torch.device("xpu", device) if isinstance(device, int) else torch.device(device)
        if chosen.type != "xpu":
            raise ValueError(
                f"SingleXPUStrategy(device={str(chosen)!r}) is not an Intel GPU: pass 'xpu' or 'xpu:<index>'"
            )
        super().__init__(device=chosen, **kwargs)
        self._chosen = [] if device is None or str(device) == "xpu" else [chosen]

    @property
    def parallel_devices(self) -> list[torch.device]:
        """The device that was chosen, empty until one is: the Trainer then sets what its `devices` names."""
        return self._chosen

    @parallel_devices.setter
    def parallel_devices(self, devices: list[torch.device]) -> None:
        if len(devices) != 1:
            raise ValueError(
                f"strategy 'single_xpu' trains on one device, but the Trainer has {len(devices)}: pass "
                "devices=1, or strategy='ddp_with_xpu' of mml-distributed under mpirun"
            )
        self._chosen = list(devices)
        self._root_device = devices[0]
