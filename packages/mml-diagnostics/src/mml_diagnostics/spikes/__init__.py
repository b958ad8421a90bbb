"""Detect loss spikes and their early signs in the moments of Adam and the autocorrelation of the weights."""

__all__ = ["loss_spike", "model_autocorrelation"]
