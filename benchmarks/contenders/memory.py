"""Peak memory of one conversion by mml-graphs, in a process that has not done anything else.

    python -P -m contenders.memory STRUCTURES.npz GROUP WARM-UP-GROUP     (with `benchmarks` on PYTHONPATH)

Prints JSON, in bytes: the growth of the peak resident set over the resident set before, and the memory of the
returned tensors, counting each storage once.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch

from contenders.face import load
from contenders.ours import methods


def resident(field: str) -> int:
    """Return `VmRSS` or `VmHWM` of this process in bytes. Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def returned(value: Any, seen: dict[int, int]) -> dict[int, int]:
    """Collect the bytes of all tensor storages in nested dictionaries and PyG graphs, by address."""
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
    elif hasattr(value, "to_dict"):
        returned(value.to_dict(), seen)
    elif isinstance(value, dict):
        for part in value.values():
            returned(part, seen)
    return seen


def main() -> None:
    """Warm up on a small cell, then measure."""
    torch.set_num_threads(1)
    path, group, warm_up = sys.argv[1:]
    groups = load(Path(path))
    method = methods()["arrays"]
    method.convert(method.prepare(groups[warm_up][0]))
    item = method.prepare(groups[group][0])
    inputs = returned({key: torch.as_tensor(value) for key, value in item.items()}, {})
    del groups
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak of the resident set
    before = resident("VmRSS")
    result = method.convert(item)
    peak = resident("VmHWM") - before
    outputs = returned(result, {})
    print(json.dumps({"peak": peak, "returned": sum(n for at, n in outputs.items() if at not in inputs)}))


if __name__ == "__main__":
    main()
