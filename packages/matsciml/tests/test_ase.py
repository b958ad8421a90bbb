import subprocess
import sys


def test_missing_ase_names_install_command():
    code = (
        "import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *rest: None if name == 'ase' else find(name, *rest); "
        "import matsciml.interfaces.ase"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=False)
    assert b"requires ASE, which is not installed: pip install 'matsciml[ase]'" in done.stderr
