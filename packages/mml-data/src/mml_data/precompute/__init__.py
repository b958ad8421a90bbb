"""Apply transforms once and store the resulting samples."""

__all__ = ["stored_transforms"]
