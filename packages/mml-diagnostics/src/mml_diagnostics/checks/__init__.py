"""Check data, embeddings, gradients, weights and loss, once with ``diagnose`` or during training."""

__all__ = ["diagnose", "training_helper"]
