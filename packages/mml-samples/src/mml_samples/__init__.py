"""The sample contract of the matsciml packages: keys, units, validation and statistics."""

from mml_samples.elements import SYMBOLS, atomic_number
from mml_samples.keys import EDGE_KEYS, GEOMETRY_KEYS, LATTICE_KEYS, SAMPLE_KEYS
from mml_samples.names import sample_name
from mml_samples.sample import Array, Batch, Graph, Sample

__all__ = [
    "EDGE_KEYS",
    "GEOMETRY_KEYS",
    "LATTICE_KEYS",
    "SAMPLE_KEYS",
    "SYMBOLS",
    "Array",
    "Batch",
    "Graph",
    "Sample",
    "atomic_number",
    "sample_name",
]
