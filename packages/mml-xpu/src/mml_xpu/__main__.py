"""`python -m mml_xpu` is the command `mml-xpu`."""

import sys

from mml_xpu.cli import main

sys.exit(main())
