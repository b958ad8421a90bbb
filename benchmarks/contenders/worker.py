"""The process of a contender: reads one command per line, and answers each with one line of JSON.

    python -P -m contenders.worker NAME STRUCTURES.npz      (with `benchmarks` on PYTHONPATH)

The standard output is reserved for this protocol. All other output of libraries goes to the standard error.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import platform
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from contenders.face import load


def main() -> None:
    """Serve until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    name, path = sys.argv[1:]
    contender = importlib.import_module(f"contenders.{name}")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    methods = contender.methods()
    groups = load(Path(path))
    about = {
        "python": platform.python_version(),
        **{package: version(package) for package in contender.PACKAGES},
    }
    batches = {m: methods[m].collate is not None for m in methods}
    returns = {m: methods[m].returns for m in methods}
    print(json.dumps({"about": about, "methods": batches, "returns": returns}), file=answers)
    prepared: dict[tuple[str, str], list[Any]] = {}
    for line in sys.stdin:
        command = json.loads(line)
        method = methods[command["method"]]
        key = command["method"], command["group"]
        try:
            if key not in prepared:
                prepared[key] = [method.prepare(crystal) for crystal in groups[command["group"]]]
                gc.collect()
                gc.freeze()  # keeps the garbage collector from scanning libraries and inputs
            items = prepared[key]
            if command["do"] == "count":
                answer: dict[str, Any] = {
                    "edges": [method.count_edges(method.convert(item)) for item in items]
                }
            elif command["do"] == "convert":
                answer = {"seconds": timed(method.convert, items, command["clock"])}
            else:
                size = command["size"]
                groups_of = [items[k : k + size] for k in range(0, len(items) - size + 1, size)]
                answer = {"seconds": timed(method.collate, groups_of, command["clock"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


def timed(function: Any, items: list[Any], clock: str) -> float:
    """Return the seconds per item of one pass, in which each result is freed before the next call.

    The clock is `"processor"`, the time of all threads of this process, or `"wall"`.
    """
    read = {"processor": process_time, "wall": perf_counter}[clock]
    start = read()
    for item in items:
        function(item)
    return (read() - start) / len(items)


if __name__ == "__main__":
    main()
