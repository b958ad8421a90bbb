"""Interfaces to other programs. See `matsciml.interfaces.ase`."""

__all__: list[str] = []
