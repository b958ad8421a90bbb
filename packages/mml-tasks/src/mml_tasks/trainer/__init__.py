"""Parts that adapt tasks to Lightning's Trainer: precision, accumulation, ranks, resumed runs."""
