"""Save and restore random states, so that a continued run draws the same numbers as an uninterrupted one."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

logger = logging.getLogger(__name__)


class RandomState(Callback):
    """Callback that saves the random states of all ranks in checkpoints and restores them in continued runs.

    The first batch after a checkpoint starts with the saved state. The state is restored when that batch
    starts, because the creation of data loaders, the sanity check and other steps draw random numbers
    before it. For the same reason, the first batch of every epoch starts with the state at the end of
    the previous epoch. This holds for uninterrupted runs as well as for runs that continue between two
    epochs.

    The callback must be the first one, so that other callbacks draw after it. It saves the states of Python,
    NumPy and torch (CPU, and the rank's device) as tensors, numbers and strings, without pickles.
    """

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._pending: dict[str, Any] | None = None
        self._between_epochs = False
        self._loaded: list[dict[str, Any]] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Store the trainer, which provides the ranks."""
        self._trainer = trainer

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the state of a checkpoint between two epochs, for hooks that run before the first batch."""
        if self._loaded is not None:
            rank, count = trainer.global_rank, len(self._loaded)
            if trainer.world_size != count:
                logger.warning(
                    "the checkpoint contains the random states of %d rank(s), but the run continues on %d; "
                    "its random numbers, for example of dropout, differ from those of an uninterrupted run",
                    count,
                    trainer.world_size,
                )
            self._pending = self._loaded[rank] if rank < count else None
            self._loaded = None
        if self._pending is not None and self._between_epochs:
            set_random_state(self._pending, trainer.strategy.root_device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Restore the state with which the batch would start in an uninterrupted run."""
        if self._pending is not None:
            set_random_state(self._pending, trainer.strategy.root_device)
            self._pending = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the state for the first batch of the next epoch."""
        self._pending = get_random_state(trainer.strategy.root_device)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all ranks. Every rank must call this method."""
        trainer = self._trainer
        if trainer is None:
            return {}
        between = self._pending is not None
        own = self._pending or get_random_state(trainer.strategy.root_device)
        states = [own]
        if trainer.world_size > 1:
            states = [{} for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(states, own)
        return {"ranks": states, "between_epochs": between}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Store the states until training starts."""
        self._loaded, self._between_epochs = state_dict["ranks"], state_dict["between_epochs"]


def get_random_state(device: torch.device) -> dict[str, Any]:
    """Return the random states of Python, NumPy and torch.

    Parameters
    ----------
    device
        Device of this rank.

    Returns
    -------
    dict
        Tensors on the CPU, numbers and strings.
    """
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002  the global one
    state: dict[str, Any] = {
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {
            "name": str(name),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        state[device.type] = _of_device(device).get_rng_state(*_place(device))
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set the random states of Python, NumPy and torch.

    Parameters
    ----------
    state
        Result of `get_random_state`. The device's state is skipped if it is from another type of device.
    device
        Device of this rank.
    """
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    keys = numpy["keys"].numpy().astype(np.uint32)
    legacy = (numpy["name"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"])
    np.random.set_state(legacy)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if device.type in state:
        _of_device(device).set_rng_state(state[device.type], *_place(device))


def _of_device(device: torch.device) -> Any:
    return torch.get_device_module(device)


def _place(device: torch.device) -> tuple[torch.device, ...]:
    """Return the device as an argument tuple, or an empty tuple for MPS, which has a single device."""
    return () if device.type == "mps" else (device,)
