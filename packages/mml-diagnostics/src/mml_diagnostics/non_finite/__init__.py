"""NaN and Inf: find them in gradients and forward passes, write the step to a file, repeat it."""
