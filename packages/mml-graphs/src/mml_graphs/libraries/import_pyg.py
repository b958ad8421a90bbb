"""Import PyG, which is optional and takes seconds to import."""

from __future__ import annotations

from types import ModuleType

from mml_samples import optional_module


def pyg_data() -> ModuleType:
    """Return ``torch_geometric.data``, imported on first use.

    Raises
    ------
    ImportError
        If PyG is not installed. The message contains the install command.
    """
    return optional_module("torch_geometric.data", "mml-graphs[pyg]", "the 'pyg' graph backend")
