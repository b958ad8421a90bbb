"""Shared types of the older toolkit. See `matsciml.common.types`."""

__all__: list[str] = []
