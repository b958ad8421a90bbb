"""Parts of models, at the older toolkit's path."""

from mml_tasks import OutputHead

from matsciml._not_here import missing_names

__all__ = ["OutputHead"]

__getattr__ = missing_names(__name__)
