"""Training on several Intel GPUs: what `Trainer(accelerator="xpu", devices=4)` and `strategy="ddp"` use."""

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
    """Lightning's DDP on Intel GPUs; takes the arguments of Lightning's `DDPStrategy`.

    The backend is xccl if `process_group_backend` does not name another. Under an MPI launcher, use
    `ddp_with_xpu` of mml-distributed instead.

    Raises
    ------
    RuntimeError
        A torch without xccl, and no other backend named.
    """

    def _get_process_group_backend(self) -> str:
        return self._process_group_backend or default_backend(self.root_device)

    def _setup_model(self, model: torch.nn.Module) -> DistributedDataParallel:
        # As Lightning does, but without the CUDA stream that it opens on every GPU.
        device_ids = self.determine_ddp_device_ids()
        return DistributedDataParallel(module=model, device_ids=device_ids, **self._ddp_kwargs)

    def _register_ddp_hooks(self) -> None:
        # Lightning registers communication hooks on CUDA only, and drops them elsewhere without a word.
        if self._ddp_comm_hook is None:
            return
        hook = self._ddp_comm_hook
        if self._ddp_comm_wrapper is not None:
            hook = self._ddp_comm_wrapper(hook)
        model: DistributedDataParallel = self.model  # type: ignore[assignment]
        model.register_comm_hook(state=self._ddp_comm_state, hook=hook)


def default_backend(device: torch.device) -> str:
    """Return the process group backend for a device: xccl for Intel GPUs, else gloo.

    Raises
    ------
    RuntimeError
        An Intel GPU under a torch without xccl.
    """
    if device.type != "xpu":
        return "gloo"
    if not torch.distributed.is_xccl_available():
        raise RuntimeError(
            f"torch {torch.__version__} has no xccl, the process group backend for Intel GPUs: install the "
            "XPU build for Linux (uv pip install --torch-backend=xpu torch), or train on devices=1"
        )
    return "xccl"
