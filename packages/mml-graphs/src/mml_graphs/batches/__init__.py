"""Collate samples into batches, and find the edges of many structures at once."""

__all__ = ["collate", "graph_collate"]
