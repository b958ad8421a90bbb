"""Training on one Intel GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mml_xpu import ipex
from mml_xpu.checkpoints import RandomStateCheckpointsMixin

if TYPE_CHECKING:
    from pytorch_lightning import Trainer
    from pytorch_lightning.strategies import SingleDeviceStrategy as _Base
else:
    _Base = object


class SingleXPUStrategyMixin(RandomStateCheckpointsMixin, _Base):
    """Strategy for one Intel GPU: `Trainer(accelerator="xpu", devices=1, strategy="single_xpu")`.

    After :func:`mml_xpu.enable_auto`, `strategy="auto"` selects this strategy for one Intel GPU.

    Parameters
    ----------
    device
        The device: an index, "xpu:1" or a `torch.device`. Default, and for plain "xpu": the device that the
        Trainer's `devices` selects.
    ipex_optimize
        Whether Intel's extension for PyTorch (extra `ipex`, torch 2.8 only) optimizes the model and its
        optimizer before `fit`. The extension is imported only in this case, at that time.
    **kwargs
        Arguments of Lightning's `SingleDeviceStrategy`: accelerator, checkpoint_io, precision_plugin.

    Raises
    ------
    ValueError
        If `device` is not an Intel GPU, or if the Trainer uses more than one device.
    ImportError
        If `ipex_optimize` is True and the extension is missing or built for another torch version.
    """

    strategy_name = "single_xpu"

    def __init__(
        self, device: int | str | torch.device | None = None, *, ipex_optimize: bool = False, **kwargs: Any
    ) -> None:
        if device is None or str(device) == "xpu":
            chosen = torch.device("xpu", 0)
        else:
            chosen = torch.device("xpu", device) if isinstance(device, int) else torch.device(device)
        if chosen.type != "xpu":
            raise ValueError(f"device must be an Intel GPU ('xpu' or 'xpu:<index>'), got {str(chosen)!r}")
        if ipex_optimize:
            ipex.check_installed()
        super().__init__(device=chosen, **kwargs)
        self._ipex_optimize = ipex_optimize
        self._chosen = [] if device is None or str(device) == "xpu" else [chosen]

    @property
    def parallel_devices(self) -> list[torch.device]:
        """The selected device as a list. If it is empty, the Trainer sets it from its `devices` argument."""
        return self._chosen

    @parallel_devices.setter
    def parallel_devices(self, devices: list[torch.device]) -> None:
        if len(devices) != 1:
            raise ValueError(
                f"strategy 'single_xpu' requires one device, got {len(devices)}. Pass devices=1 or "
                "strategy='ddp_xpu' (under an MPI launcher, 'ddp_with_xpu' of mml-distributed)."
            )
        self._chosen = list(devices)
        self._root_device = devices[0]

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Create the optimizers, and let IPEX optimize the module if `ipex_optimize` is True."""
        super().setup_optimizers(trainer)
        if self._ipex_optimize:
            module = self.lightning_module
            assert module is not None  # the base class has just used it
            ipex.optimize(module, self.optimizers, getattr(self.precision_plugin, "precision", "32-true"))
