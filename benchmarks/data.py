"""Samples that mml-data reads and writes per second, compared with other stores, by section.

`read`: random reads of LiPS-sized samples into tensors, and sizes on disk. Each store runs in a separate
process, and the stores take turns. HDF5 and atompack run if `tools/peers h5py atompack-db` has created their
environments.
`open`: seconds and resident memory to open a data set of a thousand and of ten million records.
`loader`: batches per second of a DataLoader that creates graphs, with one and with two workers, and the
memory of a reader over several epochs.
`write`: frames written by two processes, compared with plain LMDB writes of the same bytes.
`import`: frames of 20 atoms with forces imported per second from extended XYZ and JSON lines, by one and two
processes, without their start, and compared with ASE's parser and with orjson.
`memory`: peak memory of an import of 10,000 and of a million frames.
`budget`: average fill of the batches of the embedded prototypes.

    uv run python benchmarks/data.py [--quick] [--json FILE] [--only SECTION]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data_imports import measure_import, measure_memory
from data_stores import STORES
from harness import Timing, describe_machine, parse_arguments, write_json
from mml_data.importers.source import Part

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
PEERS = Path(os.environ.get("MML_PEERS", HERE.parent / ".peers"))
Checks = dict[str, bool]


def main() -> int:
    """Measure the sections, and return 1 if a limit is not met."""
    options = parse_arguments(__doc__, list(SECTIONS))
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    about = describe_machine("torch", "mml-data", "lmdb", "msgpack", "ase-db-backends", "torch-geometric")
    results: dict[str, Any] = {}
    checks: Checks = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        npz = save_frames(folder)
        for name, section in SECTIONS.items():
            if options.only in (None, name):
                print(f"\n{name}")
                results |= {
                    f"{name}: {key}": value
                    for key, value in section(folder, npz, options.quick, checks).items()
                }
    print()
    for text, holds in checks.items():
        print(f"{text}: {'met' if holds else 'NOT MET'}")
    write_json(options.json, about, results | {"limits": checks})
    return 0 if all(checks.values()) else 1


def save_frames(folder: Path) -> Path:
    """Save 200 frames as in the older toolkit's LiPS data (float32), real frames if available."""
    file = SHARED / "data" / "lips.jsonl"
    if file.is_file():
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        frames = {
            "pos": np.array([line["positions"] for line in lines], "f4"),
            "force": np.array([line["targets"]["force"] for line in lines], "f4"),
            "cell": np.array([line["cell"] for line in lines], "f4"),
            "energy": np.array([line["targets"]["energy"] for line in lines]),
            "numbers": np.array([line["atomic_numbers"] for line in lines], "u1"),
        }
    else:
        rng = np.random.default_rng(0)
        frames = {
            "pos": rng.uniform(0, 10, (200, 83, 3)).astype("f4"),
            "force": rng.normal(size=(200, 83, 3)).astype("f4"),
            "cell": np.tile(10 * np.eye(3, dtype="f4"), (200, 1, 1)),
            "energy": rng.normal(size=200),
            "numbers": rng.choice(np.array([3, 15, 16], "u1"), (200, 83)),
        }
        print("the shared LiPS frames are not available: using random frames of the same size")
    np.savez(folder / "frames.npz", **frames)  # type: ignore[arg-type]
    return folder / "frames.npz"


def measure_read(folder: Path, npz: Path, quick: bool, checks: Checks) -> dict[str, Any]:
    """Print and return the samples per second and bytes per sample of every store."""
    count, rounds = (2_000, 3) if quick else (20_000, 7)
    python = dict.fromkeys(STORES, sys.executable)
    for name, peer in (("HDF5", "h5py"), ("atompack", "atompack-db")):
        python[name] = str(PEERS / peer / "bin" / "python")
        if not Path(python[name]).exists():
            del python[name]
            print(f"{name}: not installed: run tools/peers {peer}")

    def run(action: str, name: str, seed: int) -> dict[str, float]:
        command = [python[name], "-W", "ignore", str(HERE / "data_stores.py"), action, name]
        command += [str(folder / "stores" / name), str(npz), str(count), str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{action} {name}: {done.stderr}")
        return dict(json.loads(done.stdout.splitlines()[-1]))

    sizes = {name: run("write", name, 0)["bytes"] / count for name in python}
    rates: dict[str, list[float]] = {name: [] for name in python}
    for seed in range(rounds):
        for name in list(python)[seed % 2 :: 1] + list(python)[: seed % 2]:
            rates[name].append(run("read", name, seed)["rate"])
    timings = {name: Timing.of(each) for name, each in rates.items()}
    print(f"{'store':28} {'samples/s: median (range)':34} {'bytes/sample':>12}  ratio")
    for name, timing in timings.items():
        ratio = timings["mml-data"].median / timing.median
        print(f"{name:28} {timing.show(digits=0):34} {sizes[name]:12.0f}  {ratio:.2f} x")
    ours = timings["mml-data"].median
    checks["at least 15 times the samples/s of pickled LMDB"] = ours >= 15 * timings["pickled LMDB"].median
    checks["at least 20 times the samples/s of aselmdb"] = ours >= 20 * timings["aselmdb"].median
    checks["at least the samples/s of numpy-pickled LMDB"] = ours >= timings["numpy-pickled LMDB"].median
    checks["at least 0.7 times the samples/s of a memmap"] = ours >= 0.7 * timings["memmap"].median
    checks["at most 2.4 kB for a frame"] = sizes["mml-data"] <= 2400
    shutil.rmtree(folder / "stores")
    return {**timings, **{f"bytes of {name}": size for name, size in sizes.items()}}


OPEN = """
import json, resource, sys, time
import torch, numpy, lmdb, msgpack
from mml_data import LMDBDataset
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
before, start = resident(), time.perf_counter()
dataset = LMDBDataset(sys.argv[1])
dataset[len(dataset) // 2]
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "bytes": resident() - before}))
"""


def measure_open(folder: Path, npz: Path, quick: bool, checks: Checks) -> dict[str, Any]:
    """Print and return the cost of opening a data set, up to the first sample."""
    rounds = 3 if quick else 7
    counts = (1_000, 1_000_000 if quick else 10_000_000)
    results: dict[str, Any] = {}
    print(f"{'records':>12} {'ms: median (range)':24} {'MB resident: median (range)'}")
    for count in counts:
        path = many_records(folder / f"{count}", count)
        found = []
        for _ in range(rounds):
            done = subprocess.run(
                [sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=True
            )
            found.append(json.loads(done.stdout))
        seconds = Timing.of([each["seconds"] for each in found])
        memory = Timing.of([each["bytes"] for each in found])
        results |= {f"seconds, {count} records": seconds, f"bytes, {count} records": memory}
        print(f"{count:12,} {seconds.show(1e3, 1):24} {memory.show(1e-6, 1)}")
        shutil.rmtree(path)
    checks["the largest data set opens in under 50 ms"] = seconds.median < 0.05
    checks["the largest data set takes under 20 MB"] = memory.median < 20e6
    return results


def many_records(path: Path, count: int) -> Path:
    """Write one small record `count` times without validation, as a data set to open."""
    from mml_data import Manifest
    from mml_data.store.manifest import FileEntry
    from mml_data.store.records import encode_record
    from mml_data.store.shard_writer import ShardWriter
    from mml_data.store.splits import write_numbers, write_split

    path.mkdir()
    sample = {"atomic_numbers": np.array([29], np.uint8), "pos": np.zeros((1, 3)), "targets": {"energy": 0.5}}
    record = encode_record(sample)
    entries = []
    for number, start in enumerate(range(0, count, 1_000_000)):
        writer = ShardWriter(path / f"shard-{number:05d}.lmdb", batch_size=100_000)
        for _ in range(min(1_000_000, count - start)):
            writer.add(record)
        entries.append(FileEntry(writer.path.name, writer.close(), "0" * 64))
    splits = {"train": write_split(path, "train", np.arange(0, count, 2))}
    sizes = {"natoms": write_numbers(path, "natoms.npy", np.ones(count))}
    Manifest("many", count, entries, {}, splits, sizes).write(path)
    return path


def measure_loader(folder: Path, npz: Path, quick: bool, checks: Checks) -> dict[str, Any]:
    """Print and return the batches per second with workers, and the growth of a reader's memory."""
    from mml_data import LMDBDataset, MatSciMLDataModule
    from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform

    batches, rounds = (60, 3) if quick else (250, 5)
    path = write_ours(folder / "loader", npz, batches * 16)
    transforms: list[Any] = [PeriodicPropertiesTransform(5.0), PointCloudToGraphTransform("pyg")]
    rates: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for _ in range(rounds):
        for workers, found in rates.items():
            data = MatSciMLDataModule(
                train_path=path, batch_size=16, num_workers=workers, transforms=list(transforms)
            )
            iterator = iter(data.train_dataloader())
            for _ in range(8):  # starts the workers and fills their prefetch queues
                next(iterator)
            start, number = time.perf_counter(), 0
            for _ in iterator:
                number += 1
            found.append(number / (time.perf_counter() - start))
    timings = {workers: Timing.of(found) for workers, found in rates.items()}
    for workers, timing in timings.items():
        print(
            f"{workers} workers: {timing.show(digits=1)} batches of 16 frames per second, cutoff 5 angstrom"
        )
    ratio = timings[2].median / timings[1].median
    print(f"two workers compared with one: {ratio:.2f}")
    checks["two workers deliver at least 1.6 times the batches of one"] = ratio >= 1.6
    memory = []
    dataset = LMDBDataset(path)
    for _ in range(10):
        for index in np.random.default_rng(0).permutation(len(dataset)).tolist():
            dataset[index]
        memory.append(private_memory())
    growth = (memory[-1] - memory[1]) / 1e6
    print(f"growth of a reader's private memory from the 2nd to the 10th epoch: {growth:+.2f} MB")
    checks["a reader's memory grows by less than 2 MB over 10 epochs"] = growth < 2
    return {f"{workers} workers": timing for workers, timing in timings.items()} | {"growth in MB": growth}


def private_memory() -> int:
    """Return the bytes of this process that are not memory-mapped files."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def write_ours(path: Path, npz: Path, count: int) -> Path:
    """Write `count` frames as a data set."""
    from mml_data import LMDBWriter

    with LMDBWriter(path) as writer:
        for sample in as_samples(npz, count):
            writer.add(sample)
    return path


def as_samples(npz: Path, count: int) -> Iterator[dict[str, Any]]:
    """Yield frames as samples."""
    arrays = dict(np.load(npz))
    for index in range(count):
        frame = {name: values[index % len(values)] for name, values in arrays.items()}
        yield {
            "atomic_numbers": frame["numbers"],
            "pos": frame["pos"],
            "cell": frame["cell"][None],
            "targets": {"energy": float(frame["energy"]), "force": frame["force"]},
            "target_types": {"regression": ["energy", "force"], "classification": []},
        }


@dataclass(frozen=True)
class FramesPart:
    """Part of a source, with frames in memory."""

    npz: Path
    count: int

    def read(self, start: int = 0) -> Iterator[tuple[str, Any]]:
        """Yield the frames."""
        for index, sample in enumerate(as_samples(self.npz, self.count)):
            if index >= start:
                yield str(index), sample


class FramesSource:
    """Source of `count` frames in memory."""

    units: Mapping[str, str] = {}

    def __init__(self, npz: Path, count: int) -> None:
        self.npz, self.count = npz, count

    def describe(self) -> dict[str, Any]:
        """Return the description of the source."""
        return {"origin": "frames"}

    def parts(self, count: int) -> list[Part]:
        """Divide the frames into parts."""
        return [FramesPart(self.npz, self.count // count)] * count


def bare_write(path: str, npz: Path, count: int) -> None:
    """Write encoded records to an LMDB, without any other work."""
    import lmdb
    from mml_data.store.packs import pack_records
    from mml_data.store.records import encode_record

    records = [encode_record(sample) for sample in as_samples(npz, 192)]
    packs = [pack_records(records[start : start + 64]) for start in range(0, 192, 64)]
    environment = lmdb.open(path, subdir=False, lock=False, sync=False, map_size=1 << 36)
    start = time.perf_counter()
    for first in range(0, count // 64, 16):
        with environment.begin(write=True) as transaction:
            for index in range(first, min(first + 16, count // 64)):
                transaction.put(index.to_bytes(8, "big"), packs[index % 3], append=True)
    environment.sync(True)
    environment.close()
    Path(f"{path}.seconds").write_text(str(time.perf_counter() - start), encoding="ascii")


def measure_write(folder: Path, npz: Path, quick: bool, checks: Checks) -> dict[str, Any]:
    """Print and return the frames per second of two processes, without their start-up time."""
    from mml_data.importers.write_parts import write_parts

    count, rounds = (10_000, 3) if quick else (100_000, 5)
    context = multiprocessing.get_context("spawn")
    ours, bare = [], []
    for number in range(rounds):
        paths = [str(folder / f"bare-{number}-{part}") for part in range(2)]
        processes = [context.Process(target=bare_write, args=(path, npz, count // 2)) for path in paths]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        bare.append(count / max(float(Path(f"{path}.seconds").read_text(encoding="ascii")) for path in paths))
        for path in paths:
            Path(path).unlink()
        seconds = []
        for size in (2, count):
            start = time.perf_counter()
            source = FramesSource(npz, size)
            write_parts(source, folder / "ours", plan=None, splits=lambda n: {}, about={}, jobs=2)
            seconds.append(time.perf_counter() - start)
            shutil.rmtree(folder / "ours")
        ours.append(count / (seconds[1] - seconds[0]))
    timings = {"mml-data": Timing.of(ours), "bare LMDB": Timing.of(bare)}
    for name, timing in timings.items():
        print(f"{name:12} {timing.show(digits=0)} frames per second, two processes, {count:,} frames")
    ratio = timings["mml-data"].median / timings["bare LMDB"].median
    print(f"ratio of mml-data, which also writes checksums, statistics and schema: {ratio:.2f}")
    checks["at least 0.7 times the frames per second of bare LMDB writes by two processes"] = ratio >= 0.7
    return dict(timings)


def measure_budget(folder: Path, npz: Path, quick: bool, checks: Checks) -> dict[str, Any]:
    """Print and return the fill of the batches of the prototypes, averaged over three epochs."""
    from mml_data import LMDBDataset, devset_path
    from mml_data.loading.budget import BudgetSampler

    num_atoms = LMDBDataset(devset_path("prototypes"), split="train").sizes()
    results: dict[str, Any] = {}
    for budget in (64, 128, 256, 512):
        sampler = BudgetSampler(range(len(num_atoms)), {"max_atoms": num_atoms}, {"max_atoms": budget})
        filled = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            filled += [num_atoms[batch].sum() / budget for batch in sampler]
        results[f"max_atoms={budget}"] = float(np.mean(filled))
        print(f"max_atoms={budget}: {len(sampler)} batches, {np.mean(filled):.1%} full on average")
    checks["batches are at least 92 % full on average"] = min(results.values()) >= 0.92
    return results


SECTIONS: dict[str, Callable[[Path, Path, bool, Checks], dict[str, Any]]] = {
    "read": measure_read,
    "open": measure_open,
    "loader": measure_loader,
    "write": measure_write,
    "import": measure_import,
    "memory": measure_memory,
    "budget": measure_budget,
}

if __name__ == "__main__":
    sys.exit(main())
