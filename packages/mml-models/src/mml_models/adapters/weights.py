"""Load the weights of a library's model from a local file, without executing pickled code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def load_weights(model: nn.Module, path: str | Path, prefix: str = "") -> None:
    """Load a file that ``torch.save(library_model.state_dict(), path)`` wrote into `model`.

    Parameters
    ----------
    model
        A model of the library, or the part of such a model that the encoder uses.
    path
        Path of a local file.
    prefix
        Name of this part in the library's model, with a trailing dot. Keys without the prefix are ignored. If
        no key in the file has the prefix, the file must contain the state_dict of the part.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is damaged, contains anything but a state_dict, or does not match the model. The message
        lists all missing keys, unexpected keys and shape mismatches.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(
            f"{path} is damaged, or contains pickled objects, which run code when they are loaded. Load it "
            "in an environment where you trust it, and save model.state_dict() to another file."
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(
            f"{path} must contain a state_dict, a dict of name to tensor, got a {type(found).__name__}. Save "
            "model.state_dict()."
        )
    if any(key.startswith(prefix) for key in found):
        found = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    own = model.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in found]
    wrong += [f"{key} is unexpected" for key in found if key not in own]
    wrong += [
        f"{key} has shape {[*found[key].shape]}, expected {[*own[key].shape]}"
        for key in own
        if key in found and found[key].shape != own[key].shape
    ]
    if wrong:
        raise ValueError(f"The weights in {path} do not fit the model: {', '.join(wrong)}")
    model.load_state_dict(found)
