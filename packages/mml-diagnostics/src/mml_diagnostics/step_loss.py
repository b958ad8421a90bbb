"""Read the loss of a training step from the outputs that Lightning passes to hooks."""

from collections.abc import Mapping

from torch import Tensor


def loss_in(outputs: object) -> Tensor | None:
    """Return the loss in the ``outputs`` of ``on_train_batch_end`` as a 0-d tensor, or None if there is none.

    The loss stays on its device. Lightning has divided it by the number of batches over which gradients are
    accumulated.
    """
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if not isinstance(loss, Tensor):
        return None
    loss = loss.detach()
    return loss if loss.ndim == 0 else loss.float().mean()
