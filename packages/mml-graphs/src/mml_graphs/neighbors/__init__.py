"""Find the neighbors of the atoms of one structure, with one of several backends."""

__all__ = ["adaptive", "connected", "edges", "find_edges", "lattice", "linked_cells", "native"]
