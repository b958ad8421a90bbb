"""Tasks, one per file, and the heads that only they use."""
