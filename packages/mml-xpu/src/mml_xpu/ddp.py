"""Training on several Intel GPUs: `Trainer(accelerator="xpu", devices=4, strategy="ddp_xpu")`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.parallel import DistributedDataParallel

from mml_xpu.checkpoints import RandomStateCheckpointsMixin

if TYPE_CHECKING:
    from pytorch_lightning.strategies import DDPStrategy as _Base
else:
    _Base = object


class DDPXPUStrategyMixin(RandomStateCheckpointsMixin, _Base):
    """Lightning's DDP strategy for Intel GPUs. It takes the arguments of Lightning's `DDPStrategy`.

    The default backend is xccl. Set `process_group_backend` to use another one. Under an MPI launcher, use
    the strategy `ddp_with_xpu` of mml-distributed instead.

    Raises
    ------
    RuntimeError
        If torch does not have xccl and `process_group_backend` is not set.
    """

    strategy_name = "ddp_xpu"

    def _get_process_group_backend(self) -> str:
        return self._process_group_backend or default_backend(self.root_device)

    def _setup_model(self, model: torch.nn.Module) -> DistributedDataParallel:
        # Same as in Lightning, but without the CUDA stream that Lightning opens on every GPU.
        device_ids = self.determine_ddp_device_ids()
        return DistributedDataParallel(module=model, device_ids=device_ids, **self._ddp_kwargs)

    def _register_ddp_hooks(self) -> None:
        # Lightning registers communication hooks on CUDA devices only, and silently drops them on others.
        if self._ddp_comm_hook is None:
            return
        hook = self._ddp_comm_hook
        if self._ddp_comm_wrapper is not None:
            hook = self._ddp_comm_wrapper(hook)
        model: DistributedDataParallel = self.model  # type: ignore[assignment]
        model.register_comm_hook(state=self._ddp_comm_state, hook=hook)


def default_backend(device: torch.device) -> str:
    """Return the default process group backend for a device: xccl for Intel GPUs, and gloo otherwise.

    Raises
    ------
    RuntimeError
        If the device is an Intel GPU and torch does not have xccl.
    """
    if device.type != "xpu":
        return "gloo"
    if not torch.distributed.is_xccl_available():
        raise RuntimeError(
            f"torch {torch.__version__} does not have xccl, the process group backend for Intel GPUs. "
            "Install the XPU build for Linux (uv pip install --torch-backend=xpu torch), or pass devices=1."
        )
    return "xccl"
