"""Callbacks that measure and record a run without changing it."""

__all__ = ["codecarbon", "inference_writer", "monitor_gradients", "throughput", "unused_parameters"]
