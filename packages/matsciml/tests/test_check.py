import importlib
from importlib import metadata

import pytest
from matsciml.cli import main
from matsciml.commands import check as environment_check
from matsciml.commands.check import devices, optional_parts, processes, versions


def test_tables_fit_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["check"]) == 0
    shown = capsys.readouterr().out
    for title in ("versions", "devices", "distributed training", "optional parts"):
        assert f"\n{title}" in f"\n{shown}"
    assert max(map(len, shown.splitlines())) <= 80


def test_versions_equal_installed():
    found = dict(versions())
    assert found["torch"] == metadata.version("torch")
    assert found["mml-graphs"] == metadata.version("mml-graphs")


def test_neighbor_search_gives_reason(monkeypatch):
    native = importlib.import_module("mml_graphs.neighbors.native")
    backends = importlib.import_module("mml_graphs.neighbors.backends")
    monkeypatch.setattr(native, "why_not", lambda: None)
    monkeypatch.setattr(backends, "choose_backend", lambda: "native")
    assert dict(versions())["neighbor search"] == "native (compiled)"
    monkeypatch.setattr(native, "why_not", lambda: "the search in C is disabled")
    monkeypatch.setattr(backends, "choose_backend", lambda: "numpy")
    assert dict(versions())["neighbor search"] == "numpy, which is slower: the search in C is disabled"


def test_extras_list_libraries():
    parts = {part.extra: part for part in optional_parts()}
    assert set(parts) == set(metadata.metadata("matsciml").get_all("Provides-Extra"))
    assert parts["ase"].installed[0] == f"ase {metadata.version('ase')}"
    assert parts["ase"].missing == []


def test_missing_library_names_install_command(monkeypatch, capsys):
    real = metadata.version

    def version(name):
        if name == "ase":
            return "3.1"
        if name == "zstandard":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(environment_check.metadata, "version", version)
    parts = {part.extra: part for part in optional_parts()}
    assert parts["ase"].missing == ["ase>=3.26"]
    assert parts["zstd"].missing == ["zstandard>=0.23"]
    main(["check"])
    assert "pip install 'matsciml[zstd]'" in capsys.readouterr().out


def test_devices_give_reason():
    found = dict(devices())
    assert "cores; torch uses " in found["CPU"]
    assert found["Intel GPU"].startswith(("none: ", "1", "2", "4"))


def test_launcher_is_recognized(monkeypatch):
    for name, value in {"RANK": "1", "SIZE": "4", "LOCAL_RANK": "1", "LOCAL_SIZE": "4"}.items():
        monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", value)
    assert dict(processes())["launcher"] == "Open MPI: rank 1 of 4"
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "9")
    assert dict(processes())["launcher"].startswith("contradictory environment: ")


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("all", 2)])
def test_help_and_arguments_exit(argument, status, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check", argument])
    assert stop.value.code == status
    shown = capsys.readouterr()
    assert "usage: matsciml check [-h]" in shown.out + shown.err
