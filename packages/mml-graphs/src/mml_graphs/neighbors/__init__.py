"""The neighbors of one structure: search, backends, adaptive cutoffs, selection and lattices."""
