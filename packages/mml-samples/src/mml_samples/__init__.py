"""The sample contract of the matsciml packages: keys, units, validation and statistics."""

from mml_samples.batches import atom_counts, graph_of, structure_index
from mml_samples.dgl import DGLView, is_dgl
from mml_samples.elements import SYMBOLS, atomic_number
from mml_samples.keys import EDGE_KEYS, GEOMETRY_KEYS, LATTICE_KEYS, SAMPLE_KEYS
from mml_samples.moments import Moments
from mml_samples.names import sample_name
from mml_samples.notices import forget_notices, warn_counted, warn_once
from mml_samples.optional import optional_module
from mml_samples.quantities import QUANTITIES, Kind, Quantity
from mml_samples.references import ReferenceFit, count_elements
from mml_samples.sample import Array, Batch, Graph, Sample
from mml_samples.validate import check_sample

__all__ = [
    "EDGE_KEYS",
    "GEOMETRY_KEYS",
    "LATTICE_KEYS",
    "QUANTITIES",
    "SAMPLE_KEYS",
    "SYMBOLS",
    "Array",
    "Batch",
    "DGLView",
    "Graph",
    "Kind",
    "Moments",
    "Quantity",
    "ReferenceFit",
    "Sample",
    "__version__",
    "atom_counts",
    "atomic_number",
    "check_sample",
    "count_elements",
    "forget_notices",
    "graph_of",
    "is_dgl",
    "optional_module",
    "sample_name",
    "structure_index",
    "warn_counted",
    "warn_once",
]

__version__ = "0.1.0"
