"""Losses and metrics: loss modules, sums over labeled elements, missing labels, errors."""
