"""Import path of the older toolkit's schemas."""

from matsciml._not_here import missing_names

__all__: list[str] = []

__getattr__ = missing_names(__name__)
