"""Find the neighbors of the atoms of one structure, with one of several backends."""

__all__ = ["adaptive", "backends", "connected", "edges", "find_edges", "lattice", "native"]
