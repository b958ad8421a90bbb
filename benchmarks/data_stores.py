"""The stores that `benchmarks/data.py` compares. Each writes frames and reads random frames as tensors.

Each store runs in a separate process, possibly in a separate environment. This file therefore imports nothing
from the workspace except the measured package.

    python data_stores.py write|read NAME FOLDER NPZ COUNT SEED
"""

from __future__ import annotations

import io
import json
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

Frame = dict[str, np.ndarray]
Get = Callable[[int], Any]


def frames(npz: Path, count: int) -> Iterator[Frame]:
    """Yield `count` frames, repeating those in the file: pos and force [83, 3], cell, energy, numbers."""
    arrays = dict(np.load(npz))
    for index in range(count):
        yield {name: values[index % len(values)] for name, values in arrays.items()}


def as_tensors(frame: Frame) -> dict[str, Any]:
    """Return the dictionary that the older toolkit pickles."""
    tensors: dict[str, Any] = {name: torch.from_numpy(np.array(value)) for name, value in frame.items()}
    return tensors | {"energy": np.float64(frame["energy"]), "numbers": tensors["numbers"].long()}


class Ours:
    """mml-data: a data set, with all of its checks."""

    def write(self, folder: Path, given: Iterator[Frame]) -> None:
        """Write the frames."""
        from mml_data import LMDBWriter

        with LMDBWriter(folder / "ours") as writer:
            for frame in given:
                targets = {"energy": float(frame["energy"]), "force": frame["force"]}
                writer.add(
                    {
                        "atomic_numbers": frame["numbers"],
                        "pos": frame["pos"],
                        "cell": frame["cell"],
                        "targets": targets,
                        "target_types": {"regression": ["energy", "force"], "classification": []},
                    }
                )

    def open(self, folder: Path, count: int) -> Get:
        """Return a function that reads one frame."""
        from mml_data import LMDBDataset

        return LMDBDataset(folder / "ours").__getitem__


class Pickled:
    """LMDB with pickled dictionaries of tensors, as in the older toolkit."""

    def write(self, folder: Path, given: Iterator[Frame]) -> None:
        """Write the frames."""
        import lmdb

        environment = lmdb.open(str(folder / "data.lmdb"), subdir=False, map_size=1 << 36, sync=False)
        with environment.begin(write=True) as transaction:
            for index, frame in enumerate(given):
                transaction.put(str(index).encode(), pickle.dumps(as_tensors(frame)))
        environment.sync(True)
        environment.close()

    def open(self, folder: Path, count: int) -> Get:
        """Return a function that reads one frame."""
        import lmdb

        path = str(folder / "data.lmdb")
        environment = lmdb.open(path, subdir=False, readonly=True, lock=False, readahead=False)

        def get(index: int) -> Any:
            with environment.begin() as transaction:
                return pickle.loads(bytes(transaction.get(str(index).encode()) or b""))

        return get


class NumpyPickled:
    """LMDB with pickled dictionaries of numpy arrays, converted to tensors."""

    def write(self, folder: Path, given: Iterator[Frame]) -> None:
        """Write the frames."""
        import lmdb

        environment = lmdb.open(str(folder / "data.lmdb"), subdir=False, map_size=1 << 36, sync=False)
        with environment.begin(write=True) as transaction:
            for index, frame in enumerate(given):
                stored = {name: np.array(value) for name, value in frame.items()}
                stored["energy"] = float(frame["energy"])  # type: ignore[assignment]
                transaction.put(str(index).encode(), pickle.dumps(stored, pickle.HIGHEST_PROTOCOL))
        environment.sync(True)
        environment.close()

    def open(self, folder: Path, count: int) -> Get:
        """Return a function that reads one frame."""
        import lmdb

        path = str(folder / "data.lmdb")
        environment = lmdb.open(path, subdir=False, readonly=True, lock=False, readahead=False)

        def get(index: int) -> Any:
            with environment.begin() as transaction:
                frame = pickle.loads(transaction.get(str(index).encode()) or b"")
            return {
                "pos": torch.from_numpy(frame["pos"]),
                "force": torch.from_numpy(frame["force"]),
                "cell": torch.from_numpy(frame["cell"]),
                "numbers": torch.from_numpy(frame["numbers"]).long(),
                "energy": torch.tensor(frame["energy"], dtype=torch.float64),
            }

        return get


class Atompack:
    """atompack's append-only file, converted to tensors."""

    def write(self, folder: Path, given: Iterator[Frame]) -> None:
        """Write the frames."""
        import atompack

        database = atompack.Database(str(folder / "data.atp"), overwrite=True)
        for frame in given:
            molecule = atompack.Molecule.from_arrays(frame["pos"], frame["numbers"])
            molecule.cell = frame["cell"].astype(np.float64)
            molecule.pbc = (True, True, True)
            molecule.energy = float(frame["energy"])
            molecule.forces = frame["force"]
            database.add_molecule(molecule)
        database.flush()

    def open(self, folder: Path, count: int) -> Get:
        """Return a function that reads one frame."""
        import atompack

        database = atompack.Database.open(str(folder / "data.atp"))

        def get(index: int) -> Any:
            molecule = database[index]
            return {
                "pos": torch.from_numpy(np.array(molecule.positions)),
                "force": torch.from_numpy(np.array(molecule.forces)),
                "cell": torch.from_numpy(np.array(molecule.cell)).float(),
                "numbers": torch.from_numpy(np.array(molecule.atomic_numbers)).long(),
                "energy": torch.tensor(molecule.energy, dtype=torch.float64),
            }

        return get


class AseLmdb:
    """ASE's LMDB database (ase-db-backends), converted to tensors."""

    def write(self, folder: Path, given: Iterator[Frame]) -> None:
        """Write the frames."""
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.db import connect

        with connect(str(folder / "data.aselmdb"), type="aselmdb") as database:
            for frame in given:
                atoms = Atoms(frame["numbers"], frame["pos"], cell=frame["cell"], pbc=True)
                atoms.calc = SinglePointCalculator(
                    atoms, energy=float(frame["energy"]), forces=frame["force"].astype(np.float64)
                )
                database.write(atoms)

    def open(self, folder: Path, count: int) -> Get:
        """Return a function that reads one frame."""
        from ase.db import connect

        database = connect(str(folder / "data.aselmdb"), type="aselmdb", readonly=True)

        def get(index: int) -> Any:
            row = database.get(index + 1)
            return {
                "numbers": torch.from_numpy(row.numbers).long(),
                "pos": torch.from_numpy(row.positions).float(),
                "cell": torch.from_numpy(np.array(row.cell)).float(),
                "force": torch.from_numpy(row.forces).float(),
                "energy": torch.tensor(row.energy),
            }

        return get


class OnDisk:
    """PyG's OnDiskDataset on SQLite; with `schema` it stores tensors, otherwise it pickles `Data`."""

    def __init__(self, schema: bool) -> None:
        self.schema = schema

    def _open(self, folder: Path) -> Any:
        from torch_geometric.data import Data, OnDiskDataset

        if not self.schema:
            return OnDiskDataset(str(folder / "object"), log=False)

        class WithSchema(OnDiskDataset):
            def __init__(self, root: str) -> None:
                three = {"dtype": torch.float, "size": (-1, 3)}
                numbers = {"dtype": torch.long, "size": (-1,)}
                keys = {"numbers": numbers, "pos": three, "cell": three, "force": three, "energy": float}
                super().__init__(root, schema=keys, log=False)

            def serialize(self, data: Any) -> Any:
                return data.to_dict()

            def deserialize(self, data: Any) -> Any:
                return Data.from_dict(data)

        return WithSchema(str(folder / "schema"))

    def write(self, folder: Path, given: Iterator[Frame]) -> None:
        """Write the frames."""
        from torch_geometric.data import Data

        dataset = self._open(folder)
        dataset.extend([Data(**as_tensors(frame)) for frame in given], batch_size=1024)
        dataset.close()

    def open(self, folder: Path, count: int) -> Get:
        """Return a function that reads one frame."""
        return self._open(folder).get


class Hdf5:
    """HDF5 with one group per frame."""

    def write(self, folder: Path, given: Iterator[Frame]) -> None:
        """Write the frames."""
        import h5py

        with h5py.File(folder / "data.h5", "w") as file:
            for index, frame in enumerate(given):
                group = file.create_group(str(index))
                for name, value in frame.items():
                    group[name] = value

    def open(self, folder: Path, count: int) -> Get:
        """Return a function that reads one frame."""
        import h5py

        file = h5py.File(folder / "data.h5", "r")

        def get(index: int) -> Any:
            group = file[str(index)]
            return {name: torch.from_numpy(np.asarray(group[name][()])) for name in group}

        return get


class Memmap:
    """One file of raw values in a fixed order, plus offsets, copied to torch, without keys and checks."""

    def write(self, folder: Path, given: Iterator[Frame]) -> None:
        """Write the frames."""
        ends = [0]
        with (folder / "data.bin").open("wb") as file:
            for frame in given:
                parts = [frame["energy"].astype("<f8"), frame["numbers"].astype("<i8"), frame["cell"]]
                parts += [frame["pos"], frame["force"]]
                padded = io.BytesIO()
                for part in parts:
                    padded.write(part.tobytes())
                    padded.write(bytes(-padded.tell() % 8))
                ends.append(ends[-1] + file.write(padded.getvalue()))
        np.save(folder / "ends.npy", ends)

    def open(self, folder: Path, count: int) -> Get:
        """Return a function that reads one frame."""
        data = np.memmap(folder / "data.bin", mode="r", dtype=np.uint8)
        ends = np.load(folder / "ends.npy").tolist()
        three, double, whole = np.dtype("<f4"), np.dtype("<f8"), np.dtype("<i8")

        def get(index: int) -> Any:
            buffer = bytearray(data[ends[index] : ends[index + 1]])
            num_atoms = (
                len(buffer) - 48
            ) // 32  # 8 energy, 8 numbers, 40 cell with padding, 12 + 12 per atom
            at = 8 + 8 * num_atoms
            rows = 12 * num_atoms + (-12 * num_atoms) % 8
            return {
                "energy": torch.from_numpy(np.ndarray((), double, buffer)),
                "numbers": torch.from_numpy(np.ndarray((num_atoms,), whole, buffer, 8)),
                "cell": torch.from_numpy(np.ndarray((3, 3), three, buffer, at)),
                "pos": torch.from_numpy(np.ndarray((num_atoms, 3), three, buffer, at + 40)),
                "force": torch.from_numpy(np.ndarray((num_atoms, 3), three, buffer, at + 40 + rows)),
            }

        return get


STORES: dict[str, Any] = {
    "mml-data": Ours(),
    "pickled LMDB": Pickled(),
    "numpy-pickled LMDB": NumpyPickled(),
    "atompack": Atompack(),
    "aselmdb": AseLmdb(),
    "PyG OnDiskDataset": OnDisk(schema=False),
    "PyG OnDiskDataset, schema": OnDisk(schema=True),
    "HDF5": Hdf5(),
    "memmap": Memmap(),
}


def read(get: Get, count: int, seed: int, seconds: float = 1.0) -> float:
    """Read random samples for about a second, and return the number per second."""
    order = np.random.default_rng(seed).integers(0, count, 1_000_000).tolist()
    for index in order[:50]:
        get(index)
    done, start = 0, time.perf_counter()
    while True:
        for index in order[done : done + 100]:
            get(index)
        done += 100
        passed = time.perf_counter() - start
        if passed > seconds:
            return done / passed


def main() -> None:
    """Run the command line, and print one line of JSON."""
    action, name, folder, npz, count, seed = sys.argv[1:]
    torch.set_num_threads(1)
    store, path = STORES[name], Path(folder)
    if action == "write":
        path.mkdir(parents=True)
        store.write(path, frames(Path(npz), int(count)))
        size = sum(
            file.stat().st_size for file in path.rglob("*") if file.is_file() and "lock" not in file.name
        )
        print(json.dumps({"bytes": size}))
    else:
        get = store.open(path, int(count))
        first = next(iter(frames(Path(npz), 1)))
        sample = get(0)
        sample = sample if isinstance(sample, dict) else sample.to_dict()
        pos = sample["pos"]
        assert pos.shape == first["pos"].shape
        assert np.allclose(np.asarray(pos), first["pos"])
        print(json.dumps({"rate": read(get, int(count), int(seed))}))


if __name__ == "__main__":
    main()
