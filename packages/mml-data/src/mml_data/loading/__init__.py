"""From data sets to batches: data modules, samplers, budgets and the resumable loader."""
