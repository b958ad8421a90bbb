"""Loss weights: schedules and the callbacks that change weights during training."""

__all__ = ["loss_scaling_scheduler", "loss_weights", "schedules", "soft_adapt", "uncertainty_weighting"]
