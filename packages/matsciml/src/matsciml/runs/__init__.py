"""A run of `matsciml fit`: its directory, plan, config, checkpoints and console output."""

__all__ = [
    "checkpoint_names",
    "checkpoints",
    "config_errors",
    "console",
    "instances",
    "interruption",
    "optimizer_options",
    "plan",
    "plateau_steps",
    "progress",
    "random_state",
    "run_checkpoints",
    "run_directory",
    "run_logger",
    "save_config",
    "trained",
    "weight_averaging",
]
