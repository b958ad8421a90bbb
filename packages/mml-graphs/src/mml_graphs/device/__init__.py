"""Find the edges of a batch with torch operations, on any device."""

__all__ = ["batched"]
