"""The contenders of `graphs.py`: one module per library with a common interface, in separate processes."""
