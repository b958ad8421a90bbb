"""`python -m mml_distributed`, for where the console script is not on the path of the ranks."""

import sys

from mml_distributed.command import main

if __name__ == "__main__":
    sys.exit(main())
