from xml.etree import ElementTree

import pytest
from matsciml.commands.data_plots import plot_statistics
from mml_data import devset_path


def test_plot_is_valid_svg(tmp_path):
    plot_statistics(devset_path("prototypes"), "val", tmp_path / "plot.svg")
    assert ElementTree.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")


def test_unknown_format_raises(tmp_path):
    with pytest.raises(ValueError, match=r"--plot .*plot\.doc failed"):
        plot_statistics(devset_path("prototypes"), "val", tmp_path / "plot.doc")
