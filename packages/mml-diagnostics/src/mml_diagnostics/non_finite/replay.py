"""Write a training step with a bad gradient to a file, and repeat it outside of the run."""

import inspect
import os
import pickle
import random
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mml_diagnostics.non_finite.bad_values import gradient_values
from mml_diagnostics.unseen import unseen

AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class StepBatch:
    """A batch, its index, and the states of the random number generators before the batch was used."""

    batch_idx: int
    batch: object
    random_state: Mapping[str, Any]


@dataclass(frozen=True)
class Replay:
    """Result of a repeated step.

    Parameters
    ----------
    step
        Global step.
    losses
        Loss of each batch of the step.
    bad_gradients
        Names of the parameters with NaN or Inf in their gradients. The gradients stay on the module.
    batches
        Batches of the step.
    """

    step: int
    losses: list[float]
    bad_gradients: list[str]
    batches: list[object]


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators of torch (CPU and ``device``), Python and NumPy, as plain data."""
    numbers: Any = np.random.get_state()  # noqa: NPY002 (the batch may have used the global generator)
    state = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [numbers[0], numbers[1].tolist(), *numbers[2:]],
    }
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Set the generators to the ``state`` that :func:`random_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    if "device" in state and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state["device"].cpu(), device)


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Restore the states of the random number generators when the context ends."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(before, device)


def write_step(
    directory: str | Path,
    module: nn.Module,
    batches: Sequence[StepBatch],
    step: int,
    rank: int = 0,
    precision: str = "32-true",
) -> Path:
    """Write the data for :func:`replay` to ``step-<step>-rank<rank>.pt`` in ``directory``.

    Call this function before the optimizer steps. Buffers, such as BatchNorm's running means, are written
    with their values after the forward pass. They do not affect a training step.

    Parameters
    ----------
    directory
        Directory of the file; created if it does not exist.
    module
        Module whose weights are written.
    batches
        Batches of the step (several if gradients are accumulated).
    step, rank
        Global step and rank, used in the file name.
    precision
        Lightning's name of the precision of the run.

    Returns
    -------
    Path
        Path of the file, which is written atomically.
    """
    path = Path(directory) / f"step-{step:08d}-rank{rank}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    content = {
        "step": step,
        "precision": precision,
        "weights": module.state_dict(),
        "batches": [(b.batch_idx, b.batch, dict(b.random_state)) for b in batches],
    }
    try:
        torch.save(content, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def replay(path: str | Path, module: Any, weights_only: bool = True) -> Replay:
    """Repeat a training step that ``GradientCheckCallback(dump_dir=...)`` wrote to a file.

    The module receives the weights and the random states of that step. The batches go through its
    ``training_step`` and the backward pass, on the device of the module. The gradients stay on the
    parameters. Metrics, buffers and other attributes keep the values from before the repeated step. To find
    the operation that produces a NaN, wrap the call in ``torch.autograd.detect_anomaly()``.

    Parameters
    ----------
    path
        File to read.
    module
        A LightningModule with the same parameters; its weights are overwritten.
    weights_only
        Whether to load plain data only. A batch with objects, such as graphs, requires False. False can
        execute code from the file, so use it only for files that you wrote yourself.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file was not written by ``GradientCheckCallback`` or contains objects; if the weights do not
        fit the module; if the module uses manual optimization; or if ``training_step`` returns no loss.
    """
    if not getattr(module, "automatic_optimization", True):
        raise ValueError(f"{type(module).__name__} uses manual optimization, which replay does not support.")
    parameters = dict(module.named_parameters())
    device = next((p.device for p in parameters.values()), torch.device("cpu"))
    content = _load(Path(path), device, weights_only)
    try:
        module.load_state_dict(content["weights"])
    except RuntimeError as error:
        raise ValueError(
            f"The weights in {path} do not belong to {type(module).__name__}: {error}"
        ) from error
    module.train()
    module.zero_grad(set_to_none=True)
    step_takes_index = "batch_idx" in inspect.signature(module.training_step).parameters
    losses = []
    with random_state_kept(device), _precision(content["precision"], device), unseen(module):
        for batch_idx, batch, state in content["batches"]:
            set_random_state(state, device)
            output = module.training_step(*((batch, batch_idx) if step_takes_index else (batch,)))
            loss = output.get("loss") if isinstance(output, Mapping) else output
            if not isinstance(loss, Tensor):
                raise ValueError(f"training_step did not return a loss for batch {batch_idx} of {path}")
            (loss / len(content["batches"])).backward()
            losses.append(float(loss.detach()))
    bad = [
        name
        for name, p in parameters.items()
        if p.grad is not None and not bool(torch.isfinite(gradient_values(p)).all())
    ]
    return Replay(content["step"], losses, bad, [batch for _, batch, _ in content["batches"]])


def _load(path: Path, device: torch.device, weights_only: bool) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"File {path} does not exist")
    strange = f"{path} was not written by GradientCheckCallback(dump_dir=...)"
    if not zipfile.is_zipfile(path):
        raise ValueError(strange)
    try:
        content = torch.load(path, map_location=device, weights_only=weights_only)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} contains objects other than plain data, such as graphs. If you trust the file, use "
            "replay(path, module, weights_only=False)."
        ) from error
    except RuntimeError as error:  # a zip archive with other content
        raise ValueError(strange) from error
    if not isinstance(content, dict) or not {"step", "precision", "weights", "batches"} <= content.keys():
        raise ValueError(strange)
    return content


@contextmanager
def _precision(name: str, device: torch.device) -> Iterator[None]:
    with torch.autocast(device.type, AUTOCAST.get(name, torch.bfloat16), enabled=name in AUTOCAST):
        yield
