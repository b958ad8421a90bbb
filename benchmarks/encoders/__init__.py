"""Encoders of this workspace and of other libraries for `models.py`, each in a separate process."""
