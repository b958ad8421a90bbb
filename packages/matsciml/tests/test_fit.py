"""`matsciml fit`: the classes that a config can name, and options that a run would record but ignore."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matsciml.cli import main
from mml_models import list_encoders

# GenericEncoder requires a function.
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


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # `main` adds the working directory


def test_every_encoder_has_short_name():
    assert {"SchNet", "ViSNet", "MACE"} <= set(NAMES)
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_missing_encoder_library_names_install_command(capsys):
    missing = [info for info in list_encoders() if not info.is_installed]
    assert missing, "this test requires an environment that lacks one of the extras of mml-models"
    assert main(["fit", f"--model.encoder=mml_models.{missing[0].name}"]) == 1
    message = capsys.readouterr().err
    assert missing[0].install in message
    assert len(message.strip().splitlines()) == 1


@pytest.mark.parametrize("name", INSTALLED)
def test_installed_encoder_trains(name, capsys):
    quick = ["--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false"]
    # Use the full path: other tests may have imported PyG's class of the same name.
    status = main(["fit", f"--model.encoder=mml_models.{name}", "--data.init_args.batch_size=2", *quick])
    assert status == 0, capsys.readouterr().err


OWN = """
import torch

class Neighbors(torch.nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.elements = torch.nn.Embedding(101, width)

    def forward(self, z, pos, edge_index, edge_vectors, batch):
        center, neighbor = edge_index
        decay = torch.exp(-edge_vectors.norm(dim=1, keepdim=True))
        return self.elements(z).index_add(0, center, decay * self.elements(z[neighbor]))
"""


def test_config_names_class_in_current_folder(capsys):
    Path("own_encoder.py").write_text(OWN)
    encoder = "{class_path: own_encoder.Neighbors, init_args: {width: 8}}"
    options = [f"--model.encoder.fn={encoder}", "--model.encoder.output_dim=8", "--trainer.fast_dev_run=true"]
    status = main(["fit", "--model.encoder=GenericEncoder", *options])
    assert status == 0, capsys.readouterr().err


def test_ambiguous_class_name_raises(capsys):
    from torch_geometric.nn.models import ViSNet

    assert main(["fit", f"--model.encoder={ViSNet.__name__}"]) == 1
    message = capsys.readouterr().err
    assert "Give the full class path" in message
    assert "mml_models.ViSNet" in message


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--trainer.logger=false", "trainer.logger must not be false"),
        ("--trainer.default_root_dir=here", "pass --runs_dir and --name"),
        ("--trainer.barebones=true", "trainer.barebones must not be true"),
        ("--lr_scheduler=StepLR --lr_scheduler.step_size=1", "has no effect without --optimizer"),
        ("--overwrite", "unknown option --overwrite"),
    ],
)
def test_ignored_option_leaves_no_file(option, message, capsys):
    assert main(["fit", *option.split()]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(Path().iterdir())


def test_optimizer_trains_heads_of_targets_in_data(capsys):
    """The unused learning rate of the model is printed and recorded."""
    tiny = [
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
        "--trainer.limit_test_batches=1",
    ]
    assert main(["init", "mine", "--data", "prototypes"]) == 0
    text = Path("mine.yaml").read_text().replace("    task_keys: [", "    # task_keys: [")
    Path("mine.yaml").write_text(text)
    more = ["--trainer.max_epochs=1", "--data.init_args.batch_size=4"]
    adam = ["--optimizer=Adam", "--optimizer.lr=0.001", "--model.init_args.scheduler_kwargs=null"]
    assert main(["fit", "--config", "mine.yaml", *tiny, *more, *adam]) == 0
    assert "lr 0.002 of the model is ignored, because --optimizer is" in capsys.readouterr().out
    assert Path("runs/mine/config.yaml").read_text().startswith("# lr 0.002 of the model is ignored")
    saved = torch.load("runs/mine/checkpoints/last.ckpt", weights_only=True)
    (group,) = saved["optimizer_states"][0]["param_groups"]
    trained = [name for name in saved["state_dict"] if not name.startswith(("normalizers", "metrics"))]
    assert any(name.startswith("output_heads") for name in trained)
    assert len(saved["optimizer_states"][0]["state"]) == len(group["params"])
    assert len(group["params"]) >= sum(name.startswith("output_heads") for name in trained) + 1
