import importlib.machinery

import pytest
from mml_distributed import _lightning


def specs(*present):
    def find_spec(name):
        return importlib.machinery.ModuleSpec(name, None, origin="somewhere") if name in present else None

    return find_spec


@pytest.mark.parametrize(
    ("present", "found"),
    [
        (("pytorch_lightning",), ("pytorch_lightning",)),
        (("lightning",), ("lightning",)),
        (("lightning", "pytorch_lightning"), ("pytorch_lightning", "lightning")),
    ],
)
def test_installed_lists_preferred_lightning_first(monkeypatch, present, found):
    monkeypatch.setattr(_lightning, "find_spec", specs(*present))
    assert _lightning.installed() == found


def test_installed_names_install_command(monkeypatch):
    monkeypatch.setattr(_lightning, "find_spec", specs())
    with pytest.raises(
        ImportError, match=r"mml-distributed requires Lightning.*uv pip install pytorch-lightning"
    ):
        _lightning.installed()


def test_installed_ignores_folder_called_lightning(monkeypatch, tmp_path):
    (tmp_path / "lightning").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    expected = importlib.machinery.PathFinder.find_spec("lightning", [str(tmp_path)])
    assert expected.origin is None
    monkeypatch.setattr(_lightning, "find_spec", {"lightning": expected, "pytorch_lightning": None}.get)
    with pytest.raises(ImportError):
        _lightning.installed()
