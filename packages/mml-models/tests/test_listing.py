from __future__ import annotations

import subprocess
import sys

import mml_models
import pytest
import torch
from mml_models import list_encoders

NAMES = [info.name for info in list_encoders()]


def test_every_encoder_is_listed_once():
    encoders = {
        name
        for name, value in vars(mml_models).items()
        if isinstance(value, type) and issubclass(value, torch.nn.Module) and name != "GraphEncoder"
    }
    assert set(NAMES) == encoders
    assert len(NAMES) == len(encoders) > 4


@pytest.mark.parametrize("info", list_encoders(), ids=NAMES)
def test_entry_describes_encoder(info):
    assert len(info.about) > 20
    assert info.about.endswith((".", ":"))
    assert info.install.startswith("pip install ")
    assert ("not installed" in str(info)) == (not info.is_installed)
    encoder = getattr(mml_models, info.name)
    if info.name == "GenericEncoder":
        return
    if info.is_installed:
        assert isinstance(encoder(), torch.nn.Module)
    else:
        with pytest.raises(ImportError, match=info.install.replace("[", r"\[").replace("]", r"\]")):
            encoder()


def test_listing_imports_no_library():
    code = (
        "import sys, mml_models; mml_models.list_encoders(); "
        "sys.exit(any(n in sys.modules for n in ('torch_geometric', 'mace', 'matgl', 'nequip', 'e3nn')))"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0
