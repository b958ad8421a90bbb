"""Many structures at once: collation, fused collation and padding."""
