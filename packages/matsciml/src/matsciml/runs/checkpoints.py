"""Check that a checkpoint matches a model."""

from __future__ import annotations

from pathlib import Path

import torch
from pytorch_lightning import LightningModule


def check_checkpoint(path: Path, model: LightningModule) -> int:
    """Check that a checkpoint contains the state of a given model.

    Parameters
    ----------
    path
        Path of a Lightning checkpoint.
    model
        Module that the config describes.

    Returns
    -------
    int
        Number of optimizer steps at which the checkpoint was saved.

    Raises
    ------
    ValueError
        If the file is not a readable checkpoint, or if it belongs to another model.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        saved, step = checkpoint["state_dict"], int(checkpoint["global_step"])
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint that can be read ({error}): give one that a fit has written"
        ) from error
    own = model.state_dict()
    built = {
        key.split(".")[0] for key in own
    }  # parts that are created from the data, such as heads, do not exist yet
    wrong = [
        *(f"it lacks {key}" for key in own if key not in saved),
        *(
            f"it has {key}, which the model has not"
            for key in saved
            if key not in own and key.split(".")[0] in built
        ),
        *(
            f"{key} has shape {tuple(saved[key].shape)} there and {tuple(own[key].shape)} in the model"
            for key in own
            if key in saved and saved[key].shape != own[key].shape
        ),
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more differences)" if len(wrong) > 1 else ""
        raise ValueError(
            f"checkpoint {path} is of another model than {type(model).__name__} as configured: {wrong[0]}"
            f"{more};"
            " pass the --config that it was trained with"
        )
    return step
