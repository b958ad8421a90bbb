import numpy as np
import pytest
from matsciml.cli import main
from mml_data import LMDBWriter


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(shown):
    return {line.split()[1]: line.split()[0] for line in shown.splitlines() if not line.startswith(" ")}


def test_default_config_is_healthy(own_folder, capsys):
    assert main(["diagnose", "--data.init_args.batch_size", "8"]) == 0
    results = lines(capsys.readouterr().out)
    assert results.pop("data_loading_share") in ("ok", "info")  # depends on the load of the machine
    assert set(results.values()) == {"ok"}
    assert not list(own_folder.iterdir())


def test_outlier_in_data_is_found(own_folder, capsys):
    with LMDBWriter("crystals") as writer:
        for index in range(20):
            writer.add(
                {
                    "atomic_numbers": np.array([3, 9]),
                    "pos": np.array([[0.0, 0, 0], [0, 0, 1.5 + 0.05 * index]]),
                    "cell": np.eye(3)[None] * 4,
                    "targets": {"gap": 1e6 if index == 7 else 0.1 * index},
                    "target_types": {"regression": ["gap"]},
                    "sample_id": f"crystal {index}",
                }
            )
        writer.set_splits({"train": range(16), "val": range(16, 20)})
    assert main(["init", "sick", "--data", "crystals"]) == 0
    assert main(["diagnose", "--config", "sick.yaml", "--data.init_args.batch_size", "16"]) == 1
    shown, said = capsys.readouterr()
    assert not said
    assert lines(shown.partition("to train\n")[2])["target_outliers"] == "warning"
    assert "crystal 7" in shown
    assert not (own_folder / "runs").exists()


@pytest.mark.parametrize(
    "option",
    [
        "--ckpt_path=last",
        "--name=mine",
        "--schedule=keep",
        "--trainer.devices=2",
        "--trainer.callbacks+=Timer",
    ],
)
def test_option_without_effect_raises(option, capsys):
    assert main(["diagnose", option]) == 1
    assert f"{option.partition('=')[0].rstrip('+')} has no effect on diagnose" in capsys.readouterr().err


def test_unknown_option_names_close_match(capsys):
    assert main(["diagnose", "--trainer.max_epoch", "3"]) == 1
    assert "did you mean 'trainer.max_epochs'" in capsys.readouterr().err
