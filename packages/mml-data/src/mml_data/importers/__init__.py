"""Importers: one file per source format, conversion of targets, and the processes of an import."""
