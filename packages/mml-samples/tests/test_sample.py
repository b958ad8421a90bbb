import subprocess
import sys

from mml_samples import Batch, Sample


def test_batch_keeps_keys_of_sample():
    assert set(Batch.__annotations__) < set(Sample.__annotations__)


def test_import_does_not_import_torch():
    code = "import sys, mml_samples; assert not {'torch', 'dgl', 'torch_geometric'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
