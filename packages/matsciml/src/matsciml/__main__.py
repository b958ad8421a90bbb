"""`python -m matsciml` is the command `matsciml`."""

import sys

from matsciml.cli import main

if __name__ == "__main__":
    sys.exit(main())
