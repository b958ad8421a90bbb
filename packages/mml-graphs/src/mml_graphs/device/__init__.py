"""Edges of a whole batch, found on the device of the batch."""
