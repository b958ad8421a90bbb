"""Entry point of `python -m matsciml`, which runs the `matsciml` command."""

import sys

from matsciml.cli import main

if __name__ == "__main__":
    sys.exit(main())
