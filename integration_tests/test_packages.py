"""Every package imports fast and has the standard files."""

import subprocess
import sys

import pytest
from support import ROOT

PACKAGES = sorted(p.name.replace("-", "_") for p in (ROOT / "packages").iterdir())
LAZY = ["ase", "dgl", "matplotlib", "pymatgen.core", "torch_geometric", "wandb"]


@pytest.mark.parametrize("package", PACKAGES)
def test_import_loads_no_optional_library(package):
    """Modules that Lightning loads do not count: torchmetrics imports matplotlib if it is installed."""
    first = "torch" if package in ("mml_graphs", "mml_models", "mml_samples") else "pytorch_lightning"
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
import {first}
before = set(sys.modules)
import {package}
new = set(sys.modules) - before
early = [m for m in {LAZY!r} if m in new]
assert not early, early
assert {first!r} != "torch" or "pytorch_lightning" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_packages_have_standard_files():
    for package in (ROOT / "packages").iterdir():
        for name in ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "changelog.d", "tests"):
            assert (package / name).exists(), package / name
        assert (package / "LICENSE").is_symlink()
        assert not list(package.glob("tests/__init__.py"))
        assert len(list(package.glob("tests/test_*.py"))) > 0
