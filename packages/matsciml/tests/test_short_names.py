"""A config may name an encoder by its class name alone, whether its library is installed or not."""

import subprocess
import sys
from pathlib import Path

import pytest
from matsciml.cli import main
from mml_models import list_encoders

# GenericEncoder needs a function.
NAMES = [info.name for info in list_encoders() if info.name != "GenericEncoder"]
INSTALLED = [info.name for info in list_encoders() if info.is_installed and info.name in NAMES]

SCRIPT = """
import sys
from jsonargparse import ArgumentParser
from torch import nn
import matsciml.commands.fit

parser = ArgumentParser()
parser.add_argument("--encoder", type=nn.Module)
for name in sys.argv[1:]:
    found = parser.parse_args([f"--encoder={name}"]).encoder.class_path
    assert found == f"mml_models.{name}", found
"""


def test_every_encoder_has_a_short_name():
    assert {"SchNet", "ViSNet", "MACE"} <= set(NAMES)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *NAMES], capture_output=True, text=True, check=False
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


@pytest.mark.parametrize("name", INSTALLED)
def test_every_encoder_that_is_installed_trains(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = ["--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false"]
    # By its path: after other tests, PyG's class of the same name may have been imported.
    status = main(["fit", f"--model.encoder=mml_models.{name}", "--data.init_args.batch_size=2", *quick])
    assert status == 0, capsys.readouterr().err


OWN = """
import torch

class Neighbours(torch.nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.elements = torch.nn.Embedding(101, width)

    def forward(self, z, pos, edge_index, edge_vectors, batch):
        centre, neighbour = edge_index
        decay = torch.exp(-edge_vectors.norm(dim=1, keepdim=True))
        return self.elements(z).index_add(0, centre, decay * self.elements(z[neighbour]))
"""


def test_a_config_names_a_class_of_ones_own_in_the_current_folder(tmp_path):
    (tmp_path / "own_encoder.py").write_text(OWN)
    encoder = "{class_path: own_encoder.Neighbours, init_args: {width: 8}}"
    command = [Path(sys.executable).with_name("matsciml"), "fit", "--trainer.fast_dev_run=true"]
    command += [
        "--model.encoder=GenericEncoder",
        f"--model.encoder.fn={encoder}",
        "--model.encoder.output_dim=8",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_name_that_two_libraries_have_is_asked_for_in_full(capsys):
    from torch_geometric.nn.models import ViSNet

    assert main(["fit", f"--model.encoder={ViSNet.__name__}"]) == 1
    said = capsys.readouterr().err
    assert "Give the full class path" in said
    assert "mml_models.ViSNet" in said
