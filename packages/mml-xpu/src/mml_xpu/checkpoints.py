"""Checkpoints of runs on Intel GPUs: they load on any machine, and resume the GPU's random numbers."""

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
"""Key of a checkpoint: the state of the XPU's random number generator, of a run with one rank."""


class PortableCheckpointIOMixin(_BaseIO):
    """Saves tensors of Intel GPUs as CPU tensors, whatever the strategy; the rest another CheckpointIO does.

    torch writes the device of a tensor into the file, and where there is no such device
    `load_from_checkpoint` fails: Lightning's own mapping to the CPU knows CUDA, MPS and XLA only. The
    accelerator puts it around what the strategy has.

    Parameters
    ----------
    inner
        Writes, reads and removes the files.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def save_checkpoint(self, checkpoint: dict[str, Any], *arguments: Any, **options: Any) -> None:
        """Save a checkpoint whose tensors are on the CPU."""
        self.inner.save_checkpoint(on_cpu(checkpoint), *arguments, **options)

    def load_checkpoint(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Load a checkpoint."""
        loaded: dict[str, Any] = self.inner.load_checkpoint(*arguments, **options)
        return loaded

    def remove_checkpoint(self, *arguments: Any, **options: Any) -> None:
        """Remove a checkpoint."""
        self.inner.remove_checkpoint(*arguments, **options)

    def teardown(self) -> None:
        """End what the other one has started, such as the thread of an AsyncCheckpointIO."""
        self.inner.teardown()


class RandomStateCheckpointsMixin(_Base):
    """Strategy whose checkpoints hold the GPU's random state, in a run with one rank.

    The state of one rank is no use to the others, and asking them for theirs would cost the checkpoint that
    is written when one of them has failed: with several ranks none is saved.
    """

    world_size: int

    def save_checkpoint(self, checkpoint: dict[str, Any], *arguments: Any, **options: Any) -> None:
        """Save a checkpoint, as the base class does."""
        if self.world_size == 1 and "optimizer_states" in checkpoint:  # not one of weights alone
            checkpoint = {**checkpoint, RNG_KEY: torch.xpu.get_rng_state(self.root_device)}
        super().save_checkpoint(checkpoint, *arguments, **options)

    def load_checkpoint(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Load a checkpoint, as the base class does, and set the random state if it holds one."""
        checkpoint = super().load_checkpoint(*arguments, **options)
        if self.world_size == 1 and RNG_KEY in checkpoint:
            torch.xpu.set_rng_state(checkpoint[RNG_KEY], self.root_device)
        return checkpoint


def on_cpu(value: Any) -> Any:
    """Return `value` with the tensors of Intel GPUs on the CPU, at any depth of dicts, lists and tuples.

    What holds none is returned as it is, and a container that does is copied with its type and attributes
    (a state dict carries the versions of its modules in one).
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
