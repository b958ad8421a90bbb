"""The subcommands of `matsciml`, one file each."""

__all__ = ["check", "completion", "data", "diagnose", "fit", "init", "predict", "training_help"]
