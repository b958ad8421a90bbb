"""Real launches: MPICH's, Intel MPI's or Open MPI's mpiexec, on CPU with gloo, on the loopback interface."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import mml_distributed
import pytest
import torch

MPIEXEC = shutil.which("mpiexec", path=sysconfig.get_path("scripts")) or shutil.which("mpiexec")
HERE = Path(__file__).parent
DEADLINE_SECONDS = 120

pytestmark = pytest.mark.skipif(
    MPIEXEC is None, reason="no mpiexec beside this Python or on PATH: uv pip install mpich"
)


def descendants(pid):
    """Ids of the processes below one, which a launcher may have put in sessions of their own."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    below = list(children.get(pid, []))
    return below + [deeper for child in below for deeper in descendants(child)]


def mpiexec(ranks, script, *arguments, options=(), deadline=DEADLINE_SECONDS, **variables):
    """Run a script on several ranks: exit status and output. Past the deadline all is killed: a failure."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    few_cores = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    loopback = {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0", "OMP_NUM_THREADS": "1"}
    outer = ("MASTER_", "PMI", "OMPI_COMM", "SLURM", "PALS", "HYDRA", "MPI_LOCAL", "NODE_RANK")
    env = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    process = subprocess.Popen(
        [MPIEXEC, *options, "-n", str(ranks), sys.executable, str(HERE / script), *map(str, arguments)],
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


def is_mpich():
    text = subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True, check=False).stdout
    return "HYDRA" in text and "Intel" not in text


def test_four_ranks_know_their_places(tmp_path):
    status, output = mpiexec(4, "rank_table.py", package(), tmp_path, "succeed")
    assert status == 0, output
    table = results(tmp_path, 4)
    assert [row["rank"] for row in table] == [0, 1, 2, 3]
    assert sorted(row["local_rank"] for row in table) == [0, 1, 2, 3]
    assert {(row["size"], row["local_size"]) for row in table} == {(4, 4)}
    assert len({tuple(row["place"]) for row in table}) == 1
    assert table[0]["place"][0] == "127.0.0.1"
    assert not any(row["torch"] or row["mpi4py"] for row in table)


def test_two_jobs_meet_at_different_ports(tmp_path):
    ports = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        status, output = mpiexec(2, "rank_table.py", package(), tmp_path / name, "succeed")
        assert status == 0, output
        ports += {row["place"][1] for row in results(tmp_path / name, 2)}
    assert len(set(ports)) == 2


def test_one_rank_that_raises_ends_the_job(tmp_path):
    """Rank 0 would sleep for a minute: without the abort the deadline kills the job and this fails."""
    status, output = mpiexec(2, "rank_table.py", package(), tmp_path, "fail", deadline=30)
    assert status != 0
    assert output.count("RuntimeError: rank 1 fails") == 1


def test_two_nodes_with_uneven_and_with_round_robin_placement(tmp_path):
    if not is_mpich():
        pytest.skip("only MPICH's mpiexec starts two pretended nodes without ssh")
    for name, per_node, local in (("even", 1, [0, 0, 1, 1]), ("uneven", 3, [0, 1, 2, 0])):
        (tmp_path / name).mkdir()
        options = ("-launcher", "fork", "-hosts", "n0,n1", "-ppn", str(per_node))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29513"}
        status, output = mpiexec(
            4, "rank_table.py", package(), tmp_path / name, "succeed", options=options, **place
        )
        assert status == 0, output
        assert [row["local_rank"] for row in results(tmp_path / name, 4)] == local


def one_process(parameters, batches, rate):
    """Plain torch, no Lightning: the same least squares; (parameters, gradients of each step)."""
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


def test_a_fit_on_two_ranks_is_one_with_twice_the_batch(tmp_path):
    status, output = mpiexec(2, "fit.py", tmp_path)
    assert status == 0, output
    first, second = results(tmp_path, 2)
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
