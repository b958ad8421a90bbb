"""Normalization of targets: statistics, normalizers, and how they are filled from data."""
