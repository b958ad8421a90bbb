"""Normalization of targets: statistics, normalizers, and how they are filled from data."""

__all__ = ["normalizer", "scale_rules", "target_normalization", "training_data"]
