"""Check the labels and structures of a data set against the laws of physics."""

__all__ = ["check_dataset", "finding", "quick", "radii"]
