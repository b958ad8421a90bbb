import pytest
from matsciml.cli import main
from matsciml.runs.progress import short_name


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("train_loss_step", "loss"),
        ("train_energy_per_atom_mae_step", "energy/atom"),
        ("train_force_mae_step", "force"),
        ("val_loss", "val_loss"),
        ("mine", "mine"),
    ],
)
def test_short_name_drops_prefix(name, short):
    assert short_name(name) == short


def test_bar_fits_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    tiny = [
        "--data.init_args.batch_size=2",
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
    ]
    assert main(["fit", *tiny, "--trainer.limit_test_batches=1", "--trainer.max_epochs=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (bar,) = (line for line in lines if line.startswith("Epoch 0/0"))
    assert len(bar.rstrip()) <= 80
    for part in ("loss: ", "energy/atom: ", "force: "):
        assert part in bar
    assert "val_loss: " in lines[lines.index(bar) + 1] + bar
