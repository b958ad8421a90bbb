"""Entry point of `python -m mml_xpu`, which runs the `mml-xpu` command."""

import sys

from mml_xpu.cli import main

sys.exit(main())
