"""Encoders of this workspace and of other libraries, each in a process of its own, for `models.py`."""
