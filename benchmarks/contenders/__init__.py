"""What `graphs.py` compares: a module for each library, all with the same face, each in its own process."""
