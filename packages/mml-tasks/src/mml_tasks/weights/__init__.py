"""Loss weights: schedules and the callbacks that change weights during training."""
