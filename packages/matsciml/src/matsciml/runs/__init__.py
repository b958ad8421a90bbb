"""A run: its directory, plan, config, checkpoints and console output."""
