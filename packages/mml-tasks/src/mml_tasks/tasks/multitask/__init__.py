"""Several tasks on one or several data sets, with one shared encoder."""

from mml_tasks.tasks.multitask.multitask import MultiTaskLitModule

__all__ = ["MultiTaskLitModule"]
