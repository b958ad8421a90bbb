"""Write down the step that a gradient went bad on, and go through it again outside of the run."""

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

from mml_diagnostics.non_finite import gradient_values
from mml_diagnostics.unseen import unseen

AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class StepBatch:
    """A batch, its index, and the states of the random number generators before it was used."""

    batch_idx: int
    batch: Any
    random_state: Mapping[str, Any]


@dataclass(frozen=True)
class Replay:
    """What came of a step that was gone through again.

    Parameters
    ----------
    step
        The global step.
    losses
        One per batch of the step.
    bad_gradients
        The parameters with NaN or Inf in their gradients, which are left on the module to be looked at.
    batches
        The batches of the step.
    """

    step: int
    losses: list[float]
    bad_gradients: list[str]
    batches: list[Any]


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators of torch (CPU and ``device``), Python and NumPy, as plain data."""
    numbers: Any = np.random.get_state()  # noqa: NPY002 (the global one is what may have been used)
    state = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [numbers[0], numbers[1].tolist(), *numbers[2:]],
    }
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put the generators into the ``state`` that :func:`random_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    if "device" in state and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state["device"].cpu(), device)


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Leave the generators as they were, whatever is drawn inside."""
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
    """Write what :func:`replay` needs to ``step-<step>-rank<rank>.pt`` in ``directory``.

    Call it before the optimizer steps. Buffers are those after the forward pass, such as BatchNorm's running
    means, which play no part in training.

    Parameters
    ----------
    directory
        Made where it is missing.
    module
        Whose weights to write.
    batches
        The batches that the step is made from: several where gradients accumulate.
    step, rank
        For the name of the file.
    precision
        Lightning's name of the precision of the run.

    Returns
    -------
    Path
        The file, which appears in one piece or not at all.
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
    """Go through a step again that ``GradientCheckCallback(dump_dir=...)`` wrote down.

    The module gets the weights of that time and the same random numbers; the batches go through its
    ``training_step`` and backwards, on the device that the module is on. Gradients stay on the parameters;
    metrics, buffers and other attributes of the module are as they were before the steps.
    Wrap the call in ``torch.autograd.detect_anomaly()`` to be led to the operation at fault.

    Parameters
    ----------
    path
        The file.
    module
        A LightningModule with the same parameters; its weights are overwritten.
    weights_only
        Whether to load plain data only. A batch that holds objects, such as graphs, needs False, which runs
        what is in the file: do that with files that you wrote yourself.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file holds something else, or objects; where the weights do not fit the module; where the
        module steps its optimizers itself (manual optimization), or ``training_step`` returns no loss.
    """
    if not getattr(module, "automatic_optimization", True):
        raise ValueError(
            f"{type(module).__name__} steps its optimizers itself, which a replay cannot follow."
        )
    parameters = dict(module.named_parameters())
    device = next((p.device for p in parameters.values()), torch.device("cpu"))
    content = _load(Path(path), device, weights_only)
    try:
        module.load_state_dict(content["weights"])
    except RuntimeError as error:
        raise ValueError(
            f"The weights in {path} are not those of {type(module).__name__}: {error}"
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
                raise ValueError(f"training_step returned no loss for batch {batch_idx} of {path}.")
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
        raise FileNotFoundError(f"There is no file {path} to replay.")
    strange = f"{path} is no file that GradientCheckCallback(dump_dir=...) wrote."
    if not zipfile.is_zipfile(path):
        raise ValueError(strange)
    try:
        content = torch.load(path, map_location=device, weights_only=weights_only)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than plain data, such as graphs. If you wrote it yourself: "
            "replay(path, module, weights_only=False)."
        ) from error
    except RuntimeError as error:  # a zip archive of something else
        raise ValueError(strange) from error
    if not isinstance(content, dict) or not {"step", "precision", "weights", "batches"} <= content.keys():
        raise ValueError(strange)
    return content


@contextmanager
def _precision(name: str, device: torch.device) -> Iterator[None]:
    with torch.autocast(device.type, AUTOCAST.get(name, torch.bfloat16), enabled=name in AUTOCAST):
        yield
