"""Parts that adapt tasks to Lightning's Trainer: precision, accumulation, ranks, resumed runs."""

__all__ = [
    "accumulation",
    "compiled",
    "lightning_flavor",
    "lr_scaling",
    "precision",
    "ranks",
    "resume",
    "stages",
    "weight_averaging",
]
