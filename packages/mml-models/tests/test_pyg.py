from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from mml_models._pyg import _quiet

SCRIPT = """
import sys
import torch
import mml_models
heavy = {"ase", "dgl", "matplotlib", "pymatgen", "pytorch_lightning", "torch_geometric", "wandb"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
mml_models.EGNN()
mml_models.SchNet()
assert "torch_geometric" not in sys.modules
import warnings
warnings.simplefilter("error", FutureWarning)
warnings.simplefilter("error", DeprecationWarning)
from mml_models.testing import crystal_batch, random_crystal
crystal_batch([random_crystal(0)], 3.0)
assert "torch_geometric" in sys.modules
"""


def test_torch_geometric_is_imported_on_first_use_and_quietly():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_only_one_warning_is_silenced():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with _quiet():
            warnings.warn("`torch.jit.script` is deprecated.", FutureWarning, stacklevel=1)
            with pytest.raises(FutureWarning, match="other"):
                warnings.warn("other", FutureWarning, stacklevel=1)
        with pytest.raises(FutureWarning, match="deprecated"):
            warnings.warn("`torch.jit.script` is deprecated.", FutureWarning, stacklevel=1)
