"""Entry point of `python -m mml_distributed`, for ranks whose PATH does not contain the console script."""

import sys

from mml_distributed.command import main

if __name__ == "__main__":
    sys.exit(main())
