"""Settings of every test run: threads per worker, number of hypothesis examples, and bytecode."""

import os
import sys

from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: OpenMP threads of several workers that share few cores wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The processes that tests start would each compile Lightning and PyG again (5 s) if nothing could be written.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Tests have no deadlines: they do not measure time. HYPOTHESIS_PROFILE=ci examines more examples.
settings.register_profile("dev", deadline=None, max_examples=25)
settings.register_profile("ci", deadline=None, max_examples=60)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
