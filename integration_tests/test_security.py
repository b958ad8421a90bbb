"""As SECURITY.md promises, reading files runs no code, and the packages do not use the network."""

import ast
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from matsciml.cli import main
from mml_data import LMDBDataset, LMDBWriter
from mml_data.convert import import_source
from mml_diagnostics import replay
from mml_tasks import MultiTaskLitModule, ScalarRegressionTask
from support import QUICK, ROOT, fit

SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
# The only places that unpickle or may unpickle data, each with its reason.
ALLOWED = {
    ("mml_data/importers/pickles.py", "pickle"): "a short list of harmless names, or --trust-pickle",
    ("mml_data/loading/packing.py", "pickle"): "what a worker process sends its parent, never a file",
    (
        "mml_models/adapters/mace.py",
        "torch.load",
    ): "mace-torch's own files are pickles: trust_pickle=True only",
    ("mml_models/testing/state.py", "pickle"): "tests of an encoder that the caller has made",
    (
        "mml_diagnostics/non_finite/replay.py",
        "torch.load",
    ): "True unless the caller asks for what is in a file of their own",
}
UNPICKLERS = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
LOADERS = {"load", "loads", "Unpickler", "read_pickle", "open"}
STARTERS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def dotted(node):
    """Return the dotted name of an expression, or an empty string."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def risks(code):
    """Return the kinds of calls in some code that can run the contents of a file or a string."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and node.attr in LOADERS and dotted(node.value) in UNPICKLERS:
            found.add("pickle")
        if isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
            found.add("pickle")
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        literal = {key: value.value for key, value in options.items() if isinstance(value, ast.Constant)}
        if name == "torch.load" and literal.get("weights_only") is not True:
            found.add("torch.load")
        if name.endswith("load_from_checkpoint") and literal.get("weights_only", True) is not True:
            found.add("weights_only")
        if "allow_pickle" in options and literal.get("allow_pickle") is not False:
            found.add("allow_pickle")
        if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
            found.add("yaml")
        if name in ("eval", "exec", "compile", "builtins.eval", "builtins.exec"):
            found.add("eval")
        if name in STARTERS or ("shell" in options and literal.get("shell") is not False):
            found.add("shell")
    return found


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import pickle\nx = pickle.loads(b)", "pickle"),
        ("class U(pickle.Unpickler): pass", "pickle"),
        ("from pickle import load", "pickle"),
        ("torch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=False)", "torch.load"),
        ("torch.load(path, weights_only=flag)", "torch.load"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("yaml.load(text, Loader=yaml.Loader)", "yaml"),
        ("eval(text)", "eval"),
        ("subprocess.run(line, shell=True)", "shell"),
    ],
)
def test_scan_finds_risk(code, kind):
    assert risks(code) == {kind}


def test_scan_accepts_safe_code():
    assert (
        risks("torch.load(p, weights_only=True); np.load(p, allow_pickle=False); yaml.safe_load(t)") == set()
    )
    assert risks("model.eval(); pickle.dumps(x); subprocess.run([a])") == set()


def test_sources_have_only_listed_risks():
    found = {
        (str(path).partition("/src/")[2], kind)
        for path in SOURCES
        for kind in risks(path.read_text(encoding="utf-8"))
    }
    assert len(SOURCES) > 100
    assert found == set(ALLOWED), (
        "add a reason for each new place to the list, and remove places that no longer exist"
    )


class Payload:
    """Object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def bomb(tmp_path, monkeypatch):
    """Return a payload, and check after the test that it has not run."""
    monkeypatch.chdir(tmp_path)
    fuse = tmp_path / "ran"
    pickle.loads(pickle.dumps(Payload(fuse)))
    fuse.rmdir()  # the payload works
    yield Payload(fuse)
    assert not fuse.exists(), "the payload must not run"


@pytest.fixture
def store(tmp_path):
    """Return the path of a data set with six samples."""
    pos = torch.tensor([[0.0, 0.0, 0.0], [1.8, 1.8, 0.0]])
    with LMDBWriter(tmp_path / "store") as writer:
        for i in range(6):
            writer.add(
                {
                    "atomic_numbers": torch.tensor([29, 29]),
                    "pos": pos,
                    "cell": 3.6 * torch.eye(3)[None],
                    "pbc": torch.tensor([True] * 3),
                    "targets": {"energy": torch.tensor(0.1 * i)},
                    "target_types": {"regression": ["energy"], "classification": []},
                }
            )
        writer.set_splits({"train": np.arange(4), "val": np.array([4]), "test": np.array([5])})
    return tmp_path / "store"


def read_all(path):
    return [sample for split in ("train", "val", "test") for sample in LMDBDataset(path, split=split)]


def test_pickled_record_is_refused(bomb, store):
    assert len(read_all(store)) == 6
    shard = lmdb.open(str(next(store.glob("*.lmdb"))), subdir=False, map_size=2**20)
    with shard, shard.begin(write=True) as transaction:
        for key in [bytes(key) for key, _ in transaction.cursor()]:
            transaction.put(key, pickle.dumps({"pos": bomb}))
    with pytest.raises(ValueError, match="shard-00000"):
        read_all(store)
    assert main(["fit", *QUICK, "--data.init_args.dataset=null", f"--data.init_args.train_path={store}"]) != 0


@pytest.mark.parametrize("file", ["split-train.npy", "natoms.npy", "manifest.json"])
@pytest.mark.parametrize("form", ["numpy", "pickle", "torch"])
def test_pickled_index_is_refused(bomb, store, file, form):
    """No reader of the file runs the pickle."""
    if form == "numpy":
        with (store / file).open("wb") as opened:
            np.save(opened, np.array([bomb] * 6, dtype=object), allow_pickle=True)
    elif form == "pickle":
        (store / file).write_bytes(pickle.dumps([bomb] * 6))
    else:
        torch.save([bomb] * 6, store / file)
    if file != "natoms.npy":
        with pytest.raises(ValueError, match=re.escape(file)):
            read_all(store)
    arguments = ["--data.init_args.dataset=null", f"--data.init_args.train_path={store}"]
    budget = ["--data.init_args.max_atoms=8", "--data.init_args.batch_size=null"]
    assert main(["fit", *QUICK, *arguments, *budget]) != 0
    assert main(["data", "info", str(store)]) != 0 or file != "manifest.json"


def test_old_data_set_requires_trust(bomb, tmp_path, capsys):
    old = tmp_path / "old.lmdb"
    with lmdb.open(str(old), subdir=False) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"0", pickle.dumps({"pos": bomb}))
        transaction.put(b"length", pickle.dumps(1))
    with pytest.raises(ValueError, match="mkdir, which is not known to be harmless, and was not executed"):
        import_source(old, tmp_path / "new")
    assert main(["data", "import", str(old), "new"]) != 0
    assert "--trust-pickle" in capsys.readouterr().err


def test_json_runs_no_function(bomb, tmp_path):
    """The file has the format of monty's decoder, which would call the function."""
    item = {"@module": "os", "@class": "mkdir", "@callable": "mkdir", "path": bomb.path}
    for name, content in (("a.json", item), ("b.json", [item]), ("c.json", {"structure": item})):
        Path(name).write_text(json.dumps(content))
        assert main(["data", "import", name, "out"]) != 0


def checkpoints(bomb):
    """Return files that would run the payload if `pickle` or an unrestricted `torch.load` read them."""
    torch.save(
        {"state_dict": {}, "global_step": 0, "pytorch-lightning_version": "2.6.0", "x": bomb}, "a.ckpt"
    )
    torch.save(
        {"state_dict": {"w": bomb}, "hyper_parameters": bomb},
        "old.ckpt",
        _use_new_zipfile_serialization=False,
    )
    Path("plain.ckpt").write_bytes(pickle.dumps({"state_dict": bomb}, protocol=2))
    return ["a.ckpt", "old.ckpt", "plain.ckpt"]


def test_pickled_checkpoint_is_refused(bomb, capsys):
    for file in checkpoints(bomb):
        for command in ("fit", "validate", "test", "predict"):
            assert main([command, *(QUICK if command == "fit" else []), "--ckpt_path", file]) != 0
            assert file in capsys.readouterr().err
        for load in (
            ScalarRegressionTask.load_from_checkpoint,
            ScalarRegressionTask.from_pretrained_encoder,
            MultiTaskLitModule.load_from_checkpoint,
            lambda file: replay(file, torch.nn.Linear(1, 1)),
        ):
            with pytest.raises((ValueError, pickle.UnpicklingError)):
                load(file)


def test_checkpoint_runs_no_function(bomb):
    """The function is named as the encoder. A class that is not a module is refused only after its import."""
    for path, message in (("os.mkdir", "is not a class"), ("pathlib.Path", "must derive from torch.nn")):
        arguments = {"encoder_class": path, "encoder_kwargs": {"path": bomb.path}, "task_keys": ["energy"]}
        checkpoint = {"state_dict": {}, "hyper_parameters": arguments, "pytorch-lightning_version": "2.6.0"}
        torch.save(checkpoint, "named.ckpt")
        for load in (ScalarRegressionTask.load_from_checkpoint, ScalarRegressionTask.from_pretrained_encoder):
            with pytest.raises(ValueError, match=message):
                load("named.ckpt")


def test_config_of_run_imports_class(tmp_path, monkeypatch, capsys):
    """The class paths of a config are imported, as SECURITY.md warns."""
    monkeypatch.chdir(tmp_path)
    assert fit("--trainer.max_epochs=1") == 0
    config = Path("runs/fit/config.yaml")
    config.write_text(config.read_text().replace("mml_models.SchNet", "no_such_package.Encoder"))
    assert main(["test", "--ckpt_path", "runs/fit/checkpoints/last.ckpt"]) != 0
    assert "no_such_package" in capsys.readouterr().err


# Records and refuses all connections of a process and its forks to other machines.
GUARD = """
import sys

def guard(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = (arguments[0],)
    elif event in ("urllib.Request", "http.client.connect"):
        address = (arguments[0 if event == "urllib.Request" else 1],)
    else:
        return
    if isinstance(address, tuple) and address[0] not in (None, "", "localhost", "127.0.0.1", "::1"):
        with open({log!r}, "a") as file:
            print(event, address, file=file)
        raise PermissionError(f"{{event}} {{address}}")

sys.addaudithook(guard)
"""


def reached(tmp_path, code):
    """Run code, and return the exit status and the requested addresses."""
    log = tmp_path / "reached.txt"
    script = tmp_path / "script.py"
    script.write_text(GUARD.format(log=str(log)) + code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, log.read_text() if log.exists() else ""


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import socket; socket.getaddrinfo('packages.invalid', 443)",
        "import socket; socket.gethostbyname('packages.invalid')",
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
        "import os, socket\nif os.fork() == 0:\n    socket.create_connection(('192.0.2.1', 80))\nos.wait()",
    ],
)
def test_guard_records_address(tmp_path, code):
    _, log = reached(tmp_path, code)
    assert "192.0.2.1" in log or "packages.invalid" in log


def test_imports_use_no_network(tmp_path):
    """All modules of all packages are imported, including those whose optional libraries are missing."""
    code = """
import importlib, pkgutil
count = 0
for name in {names!r}:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                assert error.name.split(".")[0] in {absent!r}, module
            count += 1
print(count)
""".format(
        absent=["lightning", "mpi4py", "intel_extension_for_pytorch"],
        names=sorted(path.parent.name for path in ROOT.glob("packages/*/src/*/__init__.py")),
    )
    done, log = reached(tmp_path, code)
    assert (done.returncode, log) == (0, ""), done.stderr
    assert int(done.stdout.split()[-1]) > 100


@pytest.mark.slow
def test_fit_uses_no_network(tmp_path):
    """The run has two workers, a test and a report, which loads nothing from the network either."""
    arguments = ["fit", "--name", "fit", *QUICK, "--data.init_args.num_workers=2"]
    done, log = reached(tmp_path, f"from matsciml.cli import main\nsys.exit(main({arguments!r}))")
    assert (done.returncode, log) == (0, ""), done.stderr
    report = (tmp_path / "runs/fit/report.html").read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#|data:)([^"')\s>]+)""", report) == []
