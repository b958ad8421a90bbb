"""Build, take apart, batch and convert the graphs of PyG and DGL."""

__all__ = ["conversion", "graph_data", "graph_libraries", "pyg"]
