"""Subcommands of `matsciml`, one per file."""
