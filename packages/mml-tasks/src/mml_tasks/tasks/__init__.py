"""Tasks, one per file, and the heads that only they use."""

__all__ = [
    "classification",
    "denoising",
    "force",
    "grad_free_force",
    "moments",
    "multiclass",
    "multitask",
    "scalar",
    "spectrum",
]
