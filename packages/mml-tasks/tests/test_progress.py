"""Epoch lengths equal counted batches; test_loss_scaling_scheduler.py tests plans of real trainers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import CosineScalingSchedule, LossScalingScheduler
from mml_tasks.weights.progress import EpochLengths
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from torch import ones
from torch.utils.data import DataLoader, IterableDataset


@given(st.dictionaries(st.integers(1, 8), st.integers(1, 6), max_size=3), st.integers(1, 6))
def test_plan_counts_steps_and_epochs(later, first):
    segments = [(0, first), *sorted(later.items())]
    lengths = EpochLengths(segments)
    step = 0
    for epoch in range(12):
        assert lengths.steps_before(epoch) == step
        for _ in range(dict(segments)[max(start for start, _ in segments if start <= epoch)]):
            assert lengths.epoch_of(step) == epoch
            step += 1


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield ones(1)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_plan_corrects_estimate_of_lightning(tiny, make_trainer):
    """Once Lightning's estimates are right, `TrainingPlan` need not count."""
    scheduler = LossScalingScheduler(CosineScalingSchedule("energy", 1.0, 2.0))
    accumulation = GradientAccumulationScheduler({0: 1, 1: 4})
    trainer = make_trainer(max_epochs=3, callbacks=[scheduler, accumulation])
    trainer.fit(tiny(), DataLoader(ones(8)))
    assert trainer.global_step == scheduler._plan.total("step") == 8 + 2 + 2
    trainer.accumulate_grad_batches = 1  # as it is when training starts
    assert trainer.estimated_stepping_batches == 8 * 3

    trainer = make_trainer(max_epochs=2, limit_train_batches=1.0)
    trainer.fit_loop.epoch_loop.max_steps = 1
    trainer.fit(tiny(), DataLoader(Endless()))
    trainer.fit_loop.epoch_loop.max_steps = -1
    assert trainer.estimated_stepping_batches == -1
