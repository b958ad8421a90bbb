"""Create batches from data sets: data modules, samplers, and a data loader that can resume."""

__all__ = ["datamodule", "multi", "target_facts"]
