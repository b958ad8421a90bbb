"""Load weights from the checkpoint of another task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mml_tasks.protocols import Checkpoint

logger = logging.getLogger(__name__)

_PREFIX = "encoder."
_COMPILED = "_orig_mod."
"""Prefix that torch.compile adds to the names of a module's weights."""


@dataclass(frozen=True)
class EncoderReport:
    """Names of the encoder weights, grouped by whether they were loaded.

    Parameters
    ----------
    loaded
        Weights that were loaded from the checkpoint.
    missing
        Weights of the encoder that are not in the checkpoint.
    unexpected
        Weights in the checkpoint that the encoder does not have.
    mismatched
        Weights with different shapes in the checkpoint and the encoder, as pairs (shape in the checkpoint,
        shape in the encoder).
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every weight of the encoder was loaded, and every one in the checkpoint was used."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} loaded"]
        if self.missing:
            parts.append(f"missing in the checkpoint: {', '.join(self.missing)}")
        if self.unexpected:
            parts.append(f"unexpected: {', '.join(self.unexpected)}")
        if self.mismatched:
            shapes = [
                f"{name} ({list(theirs)} in the checkpoint, {list(ours)} here)"
                for name, (theirs, ours) in self.mismatched.items()
            ]
            parts.append(f"mismatched: {', '.join(shapes)}")
        return "; ".join(parts)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint on the CPU, with ``weights_only=True``.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the checkpoint is sharded, or the file is not a checkpoint.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a directory with a sharded checkpoint. Convert it to a file: "
            f"python -m pytorch_lightning.utilities.consolidate_checkpoint {path}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many types, since torch tries several formats
        raise ValueError(
            f"{path} cannot be read as a checkpoint with weights_only=True ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} is not a checkpoint: expected a dict, got a {type(checkpoint).__name__}")
    return checkpoint


def pretrained_arguments(path: str | Path, kwargs: Mapping[str, object]) -> tuple[Checkpoint, dict[str, Any]]:
    """Read a checkpoint, and add its encoder arguments to those of a new task that specifies no encoder.

    Returns
    -------
    tuple
        The checkpoint, and the arguments of the new task.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not a checkpoint, or neither the arguments nor the checkpoint specify an encoder.
    """
    checkpoint, arguments = read_checkpoint(path), dict(kwargs)
    if arguments.get("encoder") is None and arguments.get("encoder_class") is None:
        arguments |= _encoder_of(checkpoint, path)
    return checkpoint, arguments


def load_encoder(
    encoder: nn.Module, checkpoint: Checkpoint, path: str | Path, *, strict: bool = True
) -> EncoderReport:
    """Copy the encoder weights of a checkpoint into ``encoder``, and return a report of the loaded weights.

    Raises
    ------
    ValueError
        If the checkpoint has no encoder weights or none of them match; if ``strict`` is True, also if only
        some of them match.
    """
    stored = {
        name.removeprefix(_PREFIX).replace(_COMPILED, ""): value
        for name, value in checkpoint.get("state_dict", {}).items()
        if name.startswith(_PREFIX) and isinstance(value, Tensor)
    }
    if not stored:
        raise ValueError(
            f"{path} has no encoder weights, whose names begin with {_PREFIX!r}. Pass the checkpoint of a "
            "task"
        )
    # The tensors of a state dict share memory with those of the module.
    own: dict[str, Tensor] = {
        name.replace(_COMPILED, ""): value
        for name, value in encoder.state_dict().items()
        if isinstance(value, Tensor)
    }
    common = own.keys() & stored.keys()
    fits = {name for name in common if own[name].shape == stored[name].shape}
    report = EncoderReport(
        loaded=tuple(name for name in own if name in fits),
        missing=tuple(name for name in own if name not in stored),
        unexpected=tuple(name for name in stored if name not in own),
        mismatched={
            name: (tuple(stored[name].shape), tuple(own[name].shape)) for name in own if name in common - fits
        },
    )
    if not report.loaded or (strict and not report.complete):
        remedy = "Pass strict=False to load the matching weights, or create" if report.loaded else "Create"
        raise ValueError(
            f"the encoder weights of {path} do not match {type(encoder).__name__}: {report}. {remedy} the "
            "encoder with the arguments in the checkpoint"
        )
    with torch.no_grad():
        for name in report.loaded:
            own[name].copy_(stored[name])
    logger.log(
        logging.INFO if report.complete else logging.WARNING,
        "encoder weights from %s: %s",
        path,
        report,
    )
    return report


def load_weights(task: Any, path: str | Path, *, with_normalizers: bool) -> None:
    """Copy all weights of a checkpoint into a task at the start of a fit.

    Parameters
    ----------
    task
        A task or a `MultiTaskLitModule` whose heads have been built.
    path
        Path of the checkpoint.
    with_normalizers
        Whether to load the statistics of the normalizers as well.

    Raises
    ------
    ValueError
        If the names or shapes of the weights differ. The message lists them.
    """
    checkpoint, own = read_checkpoint(path), task.state_dict()
    if with_normalizers:
        task.on_load_checkpoint(checkpoint)
        task.continue_as_new_run()
    stored = {name.replace(_COMPILED, ""): value for name, value in checkpoint["state_dict"].items()}
    if not with_normalizers:
        own, stored = ({n: v for n, v in each.items() if not _is_normalizer(n)} for each in (own, stored))
    wrong = [f"{name} is missing" for name in own if name not in stored]
    wrong += [f"{name} is unexpected" for name in stored if name not in own]
    wrong += [
        f"{name} has shape {list(stored[name].shape)}, expected {list(value.shape)}"
        for name, value in own.items()
        if name in stored and stored[name].shape != value.shape and not _is_normalizer(name)
    ]
    if wrong:
        raise ValueError(
            f"the weights of {path} do not match {type(task).__name__}: {'; '.join(wrong[:5])}"
            f"{f'; and {len(wrong) - 5} more' if len(wrong) > 5 else ''}. Use the encoder and the targets of "
            "that run, or load only the encoder weights with from_pretrained_encoder"
        )
    task.load_state_dict(stored, strict=False)
    logger.info(
        "%d weights loaded from %s, normalizers %s",
        len(own),
        path,
        "kept" if with_normalizers else "refitted",
    )


def _is_normalizer(name: str) -> bool:
    return "normalizers" in name.split(".")


def _encoder_of(checkpoint: Checkpoint, path: str | Path) -> dict[str, Any]:
    """Return the arguments with which the encoder of a checkpoint was created."""
    stored = checkpoint.get("hyper_parameters", {})
    if stored.get("encoder_class") is not None:
        return {"encoder_class": stored["encoder_class"], "encoder_kwargs": stored.get("encoder_kwargs")}
    config = stored.get("encoder")  # saved by LightningCLI
    if isinstance(config, Mapping) and "class_path" in config:
        return {"encoder_class": config["class_path"], "encoder_kwargs": dict(config.get("init_args") or {})}
    raise ValueError(
        f"{path} does not contain the class of its encoder, because the encoder was passed as an instance. "
        "Pass encoder=, or encoder_class= and encoder_kwargs="
    )
