"""CodeCarbonCallback measures each stage and writes codecarbon's file."""

import csv
import importlib.util

import pytest
from mml_diagnostics import CodeCarbonCallback

INSTALLED = importlib.util.find_spec("codecarbon") is not None


@pytest.mark.skipif(INSTALLED, reason="codecarbon is installed")
def test_missing_codecarbon_names_install_command():
    with pytest.raises(ImportError, match=r"pip install mml-diagnostics\[codecarbon\]"):
        CodeCarbonCallback(country_iso_code="USA")


@pytest.mark.skipif(not INSTALLED, reason="needs codecarbon")
def test_offline_requires_country():
    with pytest.raises(ValueError, match="requires a country"):
        CodeCarbonCallback()


@pytest.mark.skipif(not INSTALLED, reason="needs codecarbon")
@pytest.mark.filterwarnings("ignore")  # codecarbon's own
def test_each_stage_is_measured(samples, make_loader, make_task, make_trainer, tmp_path):
    options = {"country_iso_code": "USA", "tracking_mode": "process", "allow_multiple_runs": True}
    callback = CodeCarbonCallback(output_dir=tmp_path / "out", **options)
    make_trainer(callback).fit(make_task(), make_loader(samples))
    assert not callback.switched_off
    assert list(callback.emissions) == ["fit"]
    assert callback.emissions["fit"] > 0
    with (tmp_path / "out" / "emissions.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["emissions"]) == pytest.approx(callback.emissions["fit"])
