"""Graph libraries: PyG, DGL, and conversion between them."""
