"""Find NaN and Inf in gradients and forward passes, write the step to a file, and replay it."""

__all__ = ["bad_values", "forward_nan", "gradient_check", "replay"]
