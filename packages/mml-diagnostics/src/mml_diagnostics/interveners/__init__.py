"""Callbacks that change the training."""
