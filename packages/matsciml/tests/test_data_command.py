import json

import pytest
from matsciml.cli import main


@pytest.mark.parametrize("name", ["emt", "prototypes"])
def test_info_on_the_embedded_data_sets(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "info", name]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for word in ("train", "val", "test", "structures", "target"):
        assert word in text


def test_import_writes_a_data_set_and_says_what_is_in_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = {"atomic_numbers": [11, 17], "positions": [[0, 0, 0], [2.8, 0, 0]], "pbc": [True] * 3}
    line |= {"cell": [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]}
    lines = [json.dumps(line | {"targets": {"energy": -6.0 + 0.1 * i}}) for i in range(10)]
    (tmp_path / "salt.jsonl").write_text("\n".join(lines) + "\n")
    assert main(["data", "import", "salt.jsonl", "salt"]) == 0
    text = capsys.readouterr().out
    assert "8 train, 1 val, 1 test" in text
    assert "Cl Na" in text
    assert main(["data", "import", "salt.jsonl", "salt"]) == 1
    assert "salt" in capsys.readouterr().err
    assert main(["data", "import", "salt.jsonl", "salt", "--overwrite", "--splits", "0.5", "0.3", "0.2"]) == 0
    assert "5 train, 3 val, 2 test" in capsys.readouterr().out


def test_without_a_command_the_help_is_shown(capsys):
    assert main(["data"]) == 0
    assert "import" in capsys.readouterr().out
