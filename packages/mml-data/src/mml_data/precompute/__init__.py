"""Transforms that are applied once and stored."""
