"""GarbageCallback collects cycles at the requested steps only."""

import gc
import weakref

import pytest
from mml_diagnostics import GarbageCallback


class Cycle:
    def __init__(self):
        self.itself = self


@pytest.mark.parametrize("accumulate", [1, 2])
def test_cycles_are_collected_at_given_steps(
    samples, make_loader, make_task, task_class, make_trainer, accumulate
):
    alive = []

    class Leaky(task_class):
        def on_train_batch_start(self, batch, batch_idx):
            self.ref = self.ref if hasattr(self, "ref") and self.ref() is not None else weakref.ref(Cycle())

        def on_train_batch_end(self, outputs, batch, batch_idx):  # after the callbacks
            alive.append(self.ref() is not None)

    gc.disable()
    try:
        make_trainer(GarbageCallback(2), accumulate_grad_batches=accumulate).fit(
            make_task(Leaky), make_loader(samples)
        )
    finally:
        gc.enable()
    assert alive == ([True, False, True, False] if accumulate == 1 else [True, True, True, False])


def test_invalid_frequency_is_rejected():
    with pytest.raises(ValueError, match="frequency must be at least 1, got 0"):
        GarbageCallback(0)
