"""Edges of a batch, and the functions and layers from which encoders are built."""

__all__ = [
    "activations",
    "convolution",
    "edge_network",
    "edge_rows",
    "edges",
    "pairs",
    "set2set",
    "tensors",
]
