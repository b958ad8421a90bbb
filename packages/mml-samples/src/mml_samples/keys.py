"""Names of the keys of a sample, in groups."""

from __future__ import annotations

from mml_samples.sample import Sample

SAMPLE_KEYS: tuple[str, ...] = tuple(Sample.__annotations__)
"""All keys of the contract, in the order of the documentation."""

LATTICE_KEYS = ("lattice_params", "lattice_features")
"""Keys of the six lattice parameters, which are accepted instead of ``cell``."""

GEOMETRY_KEYS = ("pos", "cell", *LATTICE_KEYS)
"""Keys of coordinates and lattices.

Their values must be finite. They are read in the precision in which they are stored.
"""

EDGE_KEYS = ("src_nodes", "dst_nodes", "images", "offsets", "unit_offsets", "distances")
"""Keys of the arrays with one row per edge."""
