"""The loss of a training step, as hooks see it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def loss_in(outputs: Any) -> Tensor | None:
    """Return the loss in what ``on_train_batch_end`` is given, 0-d, where it is; None where there is none.

    Lightning has divided it by the number of batches that gradients are accumulated over.
    """
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if not isinstance(loss, Tensor):
        return None
    loss = loss.detach()
    return loss if loss.ndim == 0 else loss.float().mean()
