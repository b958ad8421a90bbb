import subprocess
import sys

import numpy as np
import torch
from mml_data.tensor_type import is_tensor

HEAVY = "torch", "pytorch_lightning", "torch_geometric", "torchmetrics", "mml_graphs", "ase", "pymatgen"


def test_is_tensor_recognizes_tensors():
    assert is_tensor(torch.zeros(1))
    assert is_tensor(torch.nn.Parameter(torch.zeros(1)))
    assert not is_tensor(np.zeros(1))
    assert not is_tensor(None)


def test_import_loads_no_heavy_library(tmp_path):
    """The worker processes of an import load these modules, so they must start fast."""
    source = tmp_path / "in.jsonl"
    source.write_text('{"atomic_numbers": [1], "positions": [[0, 0, 0]], "targets": {"energy": 1.0}}\n' * 4)
    code = (
        "import sys, mml_data.convert\n"
        "mml_data.convert.import_source(*sys.argv[1:3], splits=(0.5, 0.25, 0.25))\n"
        "print(*[name for name in sys.argv[3:] if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "out"), *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
