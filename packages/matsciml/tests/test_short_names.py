"""A config may name an encoder by its class name alone, whether its library is installed or not."""

import subprocess
import sys

from mml_models import list_encoders

SCRIPT = """
import sys
from jsonargparse import ArgumentParser
from torch import nn
import matsciml.training

parser = ArgumentParser()
parser.add_argument("--encoder", type=nn.Module)
for name in sys.argv[1:]:
    found = parser.parse_args([f"--encoder={name}"]).encoder.class_path
    assert found == f"mml_models.{name}", found
"""


def test_every_encoder_has_a_short_name():
    names = [info.name for info in list_encoders() if info.name != "GenericEncoder"]  # which needs a function
    assert {"SchNet", "ViSNet", "MACE"} <= set(names)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_encoder_whose_library_is_missing_says_how_to_install_it():
    missing = [info for info in list_encoders() if not info.is_installed]
    assert missing, "install none of the extras beside the workspace"
    command = [sys.executable, "-W", "ignore", "-m", "matsciml", "fit", f"--model.encoder={missing[0].name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert missing[0].install in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
