import subprocess
import sys

import pytest
from matsciml.cli import main


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_script_contains_commands(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("fit", "diagnose", "precompute", "--trainer.max_epochs", "--ckpt_path"):
        assert word in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_missing_shtab_names_install_command():
    code = (
        "import sys; sys.modules['shtab'] = None; import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *rest: None if name == 'shtab' else find(name, *rest); "
        "from matsciml.cli import main; sys.exit(main(['completion', 'bash']))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"pip install 'matsciml[completion]'" in done.stderr
