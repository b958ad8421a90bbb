import pytest
import torch
import yaml
from ase.build import bulk
from ase.io import write
from matsciml.runs.trained import load_calculator, load_trained, read_transforms
from mml_data.convert import read_structures


@pytest.fixture
def checkpoint(runs):
    return runs / "fit" / "checkpoints" / "best.ckpt"


def test_calculator_equals_task(checkpoint, tmp_path):
    alloy = bulk("CuAu", "cesiumchloride", a=3.1)
    alloy.rattle(0.05, seed=1)
    write(tmp_path / "alloy.extxyz", alloy)
    trained = load_trained(checkpoint)
    assert not trained.task.training
    alloy.calc = load_calculator(checkpoint)
    ((_, sample),) = read_structures(tmp_path / "alloy.extxyz")
    for transform in trained.transforms:
        sample = transform(sample)
    expected = float(trained.task.predict(sample)["energy"])
    assert alloy.get_potential_energy() == pytest.approx(expected, abs=1e-4)


def test_transforms_are_those_of_config(runs):
    config = yaml.safe_load((runs / "fit" / "config.yaml").read_text())
    names = [item["class_path"].rpartition(".")[2] for item in config["data"]["init_args"]["transforms"]]
    assert [type(each).__name__ for each in read_transforms(runs / "fit" / "config.yaml")] == names


def test_config_without_transforms_raises(checkpoint, tmp_path):
    (tmp_path / "empty.yaml").write_text("data: {class_path: x}\n")
    with pytest.raises(ValueError, match=r"empty\.yaml has no data\.init_args\.transforms"):
        load_trained(checkpoint, tmp_path / "empty.yaml")


def test_checkpoint_without_class_raises(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "bare.ckpt")
    with pytest.raises(ValueError, match=r"bare\.ckpt does not contain the class of its task"):
        load_trained(tmp_path / "bare.ckpt")
