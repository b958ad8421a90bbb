"""The import hook, tested with copies of `_lightning.py` in two small packages, and stand-ins for Lightning.

Each test runs a separate program, because it controls the order of imports.
"""

import importlib.machinery
import inspect
import subprocess
import sys

import pytest
from mml_xpu import _lightning

REGISTER = """
import sys
import log
import LIGHTNING
log.events.append((__name__, LIGHTNING.ready))
"""


@pytest.fixture
def run(tmp_path):
    """Run a program that can import the packages `ours` and `theirs`, and stand-ins for both Lightnings."""
    files = {"log.py": "events = []\n"}
    for package in ("ours", "theirs"):
        files[f"{package}/_lightning.py"] = inspect.getsource(_lightning)
        files[f"{package}/__init__.py"] = f"from {package}._lightning import register\nregister()\n"
        files[f"{package}/for_pytorch_lightning.py"] = REGISTER.replace("LIGHTNING", "pytorch_lightning")
        files[f"{package}/for_lightning.py"] = REGISTER.replace("LIGHTNING", "lightning.pytorch").replace(
            "lightning.pytorch.ready", "sys.modules['lightning.pytorch'].ready"
        )
    files["pytorch_lightning/__init__.py"] = "import log, pytorch_lightning.sub\nready = True\n"
    files["pytorch_lightning/sub.py"] = "import time\ntime.sleep(0.05)\n"
    files["lightning/__init__.py"] = "import lightning.pytorch\nlate = True\n"
    files["lightning/pytorch/__init__.py"] = "ready = True\n"

    def run(code, **changed):
        for name, text in {**files, **changed}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def check(code, **changed):
        finished = run(code, **changed)
        assert finished.returncode == 0, finished.stderr

    check.run = run
    return check


HOOKS = "[f for f in sys.meta_path if type(f).__name__ == '_Finder']"


def test_register_waits_for_lightning(run):
    run("""
import ours, log
assert "pytorch_lightning" not in sys.modules and "lightning" not in sys.modules
import pytorch_lightning
assert log.events == [("ours.for_pytorch_lightning", True)]
import lightning
assert log.events[1:] == [("ours.for_lightning", True)] and lightning.late
""")


def test_register_serves_imported_lightning_at_once(run):
    run("""
import pytorch_lightning, lightning.pytorch
import ours, log
assert sorted(log.events) == [("ours.for_lightning", True), ("ours.for_pytorch_lightning", True)]
""")


def test_register_is_idempotent(run):
    run(f"""
import importlib, ours, log
importlib.reload(ours)
ours.register()
assert len({HOOKS}) == 2
import pytorch_lightning
ours.register()
assert log.events == [("ours.for_pytorch_lightning", True)]
assert len({HOOKS}) == 2
importlib.reload(pytorch_lightning)
assert len(log.events) == 1
importlib.reload(ours._lightning).register()
import lightning
assert log.events[1:] == [("ours.for_lightning", True)]
""")


@pytest.mark.parametrize("packages", ["ours, theirs", "theirs, ours"])
def test_two_packages_register_in_order_of_import(run, packages):
    run(f"""
import {packages}, log
import pytorch_lightning.sub
first, second = {packages!r}.split(", ")
assert [name.split(".")[0] for name, ready in log.events] == [first, second]
""")


def test_hook_keeps_spec_and_loader(run):
    run("""
import importlib.util, ours, theirs
spec = importlib.util.find_spec("pytorch_lightning")
assert spec.origin.endswith("__init__.py") and spec.submodule_search_locations
assert spec.loader.get_filename("pytorch_lightning") == spec.origin
assert b"ready" in spec.loader.get_data(spec.origin)
assert spec.loader.is_package("pytorch_lightning")
import pytorch_lightning
from importlib.machinery import SourceFileLoader
assert type(pytorch_lightning.__loader__) is type(pytorch_lightning.__spec__.loader) is SourceFileLoader
assert importlib.util.find_spec("lightning.nothing") is None
""")


def test_hook_survives_failed_import(run):
    run(
        """
import ours, log
for attempt in range(2):
    try:
        import pytorch_lightning
    except RuntimeError:
        assert attempt == 0 and log.events == ["failed"]
    else:
        assert attempt == 1
assert log.events == ["failed", ("ours.for_pytorch_lightning", True)]
""",
        **{
            "pytorch_lightning/__init__.py": """
import log
if not log.events:
    log.events.append("failed")
    raise RuntimeError
ready = True
"""
        },
    )


def test_missing_lightning_stays_missing(run):
    finished = run.run(
        "import ours\nsys.modules['pytorch_lightning'] = None\nimport pytorch_lightning",
    )
    assert "ModuleNotFoundError: import of pytorch_lightning halted" in finished.stderr
    finished = run.run(
        "import ours\nsys.path.pop(0)\nimport lightning.pytorch.nothing",
    )
    assert finished.stderr.splitlines()[-1].startswith("ModuleNotFoundError: No module named 'lightning")


def test_error_of_registration_is_raised(run):
    finished = run.run(
        "import ours\nimport pytorch_lightning", **{"ours/for_pytorch_lightning.py": "raise OSError('ours')"}
    )
    assert finished.stderr.splitlines()[-1] == "OSError: ours"


@pytest.mark.parametrize("root", ["pytorch_lightning", "lightning"])
def test_classes_can_be_imported_first(run, root):
    run(f"""
import ours.for_{root}, log
assert log.events == [("ours.for_{root}", True)]
""")


def test_threads_register_once(run):
    run("""
import ours, theirs, log, threading
barrier = threading.Barrier(4)
def work():
    barrier.wait()
    import pytorch_lightning
    assert pytorch_lightning.ready
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert [name for name, ready in log.events] == ["ours.for_pytorch_lightning", "theirs.for_pytorch_lightning"]
""")


def test_import_of_package_loads_neither_torch_nor_lightning():
    code = """
import sys
import mml_xpu
assert not {"torch", "pytorch_lightning", "lightning", "lightning_fabric"} & set(sys.modules)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


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
    with pytest.raises(ImportError, match=r"mml-xpu requires Lightning.*uv pip install pytorch-lightning"):
        _lightning.installed()


def test_installed_ignores_folder_called_lightning(monkeypatch, tmp_path):
    (tmp_path / "lightning").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    expected = importlib.machinery.PathFinder.find_spec("lightning", [str(tmp_path)])
    assert expected.origin is None
    monkeypatch.setattr(_lightning, "find_spec", {"lightning": expected, "pytorch_lightning": None}.get)
    with pytest.raises(ImportError):
        _lightning.installed()
