import subprocess
import sys

from mml_samples import EDGE_KEYS, GEOMETRY_KEYS, LATTICE_KEYS, SAMPLE_KEYS, Batch, Sample


def test_groups_of_keys_are_in_contract():
    assert {*EDGE_KEYS, *GEOMETRY_KEYS, *LATTICE_KEYS} < set(SAMPLE_KEYS) == set(Sample.__annotations__)
    assert set(Batch.__annotations__) < set(SAMPLE_KEYS)


def test_import_does_not_import_torch():
    code = "import sys, mml_samples; assert not {'torch', 'dgl', 'torch_geometric'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
