"""Building blocks of models under the older toolkit's import path."""

from mml_tasks import OutputHead

from matsciml._missing_names import missing_names

__all__ = ["OutputHead"]

__getattr__ = missing_names(__name__)
