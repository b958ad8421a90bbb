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
            f"{path} is not a readable checkpoint ({error}); pass a checkpoint of `matsciml fit`"
        ) from error
    own = model.state_dict()
    # Parts that are created from the data, such as heads, do not exist yet.
    built = {key.split(".")[0] for key in own}
    wrong = [
        *(f"the checkpoint lacks {key}" for key in own if key not in saved),
        *(
            f"the model lacks {key} of the checkpoint"
            for key in saved
            if key not in own and key.split(".")[0] in built
        ),
        *(
            f"{key} has shape {tuple(saved[key].shape)} in the checkpoint and {tuple(own[key].shape)} "
            "in the model"
            for key in own
            if key in saved and saved[key].shape != own[key].shape
        ),
    ]
    if wrong:
        more = f" (differences in total: {len(wrong)})" if len(wrong) > 1 else ""
        raise ValueError(
            f"checkpoint {path} does not match the configured {type(model).__name__}: {wrong[0]}{more}; pass "
            "the --config that it was trained with"
        )
    return step
