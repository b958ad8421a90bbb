"""Checkpoints of runs on Intel GPUs, which load on any machine and restore the GPU's random state."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pytorch_lightning.plugins.io import CheckpointIO as _BaseIO
    from pytorch_lightning.strategies import Strategy as _Base
else:
    _Base = _BaseIO = object

RNG_KEY = "xpu_rng_state"
"""Checkpoint key of the XPU's random state, which is saved only in runs with one rank."""


class PortableCheckpointIOMixin(_BaseIO):
    """Wrapper of a CheckpointIO plugin that saves tensors of Intel GPUs as CPU tensors.

    torch saves the device of each tensor in the file. On a machine without such a device,
    `load_from_checkpoint` then fails, because Lightning maps only CUDA, MPS and XLA tensors to the CPU. The
    accelerator wraps the strategy's plugin in this class.

    Parameters
    ----------
    inner
        Plugin that writes, reads and removes the files.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def save_checkpoint(self, checkpoint: dict[str, object], *arguments: object, **options: object) -> None:
        """Save a checkpoint after moving its XPU tensors to the CPU."""
        self.inner.save_checkpoint(on_cpu(checkpoint), *arguments, **options)

    def load_checkpoint(self, *arguments: object, **options: object) -> dict[str, object]:
        """Load a checkpoint."""
        loaded: dict[str, object] = self.inner.load_checkpoint(*arguments, **options)
        return loaded

    def remove_checkpoint(self, *arguments: object, **options: object) -> None:
        """Remove a checkpoint."""
        self.inner.remove_checkpoint(*arguments, **options)

    def teardown(self) -> None:
        """Tear down the inner plugin, which may have started a thread (AsyncCheckpointIO)."""
        self.inner.teardown()


class RandomStateCheckpointsMixin(_Base):
    """Strategy that saves the GPU's random state in its checkpoints if the run has one rank.

    With several ranks, no random state is saved. The state of one rank is of no use to the others. Gathering
    the states of all ranks would prevent the checkpoint that is written after one of them has failed.
    """

    world_size: int

    def save_checkpoint(self, checkpoint: dict[str, object], *arguments: Any, **options: Any) -> None:
        """Save a checkpoint that includes the random state if the run has one rank."""
        if self.world_size == 1 and "optimizer_states" in checkpoint:  # not a checkpoint of weights only
            checkpoint = {**checkpoint, RNG_KEY: torch.xpu.get_rng_state(self.root_device)}
        super().save_checkpoint(checkpoint, *arguments, **options)

    def load_checkpoint(self, *arguments: Any, **options: Any) -> dict[str, object]:
        """Load a checkpoint and restore the random state if the checkpoint contains it."""
        checkpoint = super().load_checkpoint(*arguments, **options)
        if self.world_size == 1 and RNG_KEY in checkpoint:
            torch.xpu.set_rng_state(checkpoint[RNG_KEY], self.root_device)
        return checkpoint


def on_cpu(value: Any) -> Any:
    """Return `value` with its XPU tensors moved to the CPU, at any depth of dicts, lists and tuples.

    Values without XPU tensors are returned unchanged. Containers with XPU tensors are copied, and keep their
    type and attributes. (A state dict stores the versions of its modules in an attribute.)
    """
    if isinstance(value, torch.Tensor):
        return value.cpu() if value.device.type == "xpu" else value
    if isinstance(value, dict):
        moved = {key: on_cpu(item) for key, item in value.items()}
        if all(moved[key] is item for key, item in value.items()):
            return value
        copied = copy.copy(value)
        copied.update(moved)
        return copied
    if type(value) in (list, tuple):
        items = [on_cpu(item) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    return value
