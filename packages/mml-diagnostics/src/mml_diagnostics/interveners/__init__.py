"""Callbacks that change the training."""

__all__ = ["exponential_moving_average", "garbage", "manual_gradient_clip", "sam"]
