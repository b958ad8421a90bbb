"""Checks of data, embeddings, gradients, weights and loss, and the two that run them."""
