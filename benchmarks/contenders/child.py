"""The parent's side of a contender: starts its process, sends commands and reads the answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
# Settings meant for other machines, which slow down current numpy.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONPATH", "VIRTUAL_ENV")


def environment() -> dict[str, str]:
    """Return the environment of every measured process: one thread, no accelerator."""
    settings = {key: value for key, value in os.environ.items() if key not in UNSET}
    return (
        settings
        | dict.fromkeys(ONE_THREAD, "1")
        | {"PYTHONPATH": str(HERE.parent), "CUDA_VISIBLE_DEVICES": ""}
    )


class Child:
    """A contender in a separate process.

    Parameters
    ----------
    module
        Module in this folder.
    name
        Label in tables.
    python
        Interpreter of the environment of the library. None is the current interpreter.
    structures
        File written by `contenders.face.save`.
    """

    def __init__(self, module: str, name: str, python: Path | None, structures: Path) -> None:
        self.name = name
        self.log = structures.with_name(f"{module}.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    python or sys.executable,
                    "-P",
                    "-W",
                    "ignore",
                    "-m",
                    "contenders.worker",
                    module,
                    structures,
                ],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
            )
        self.about: dict[str, str] = {}
        self.methods: dict[str, bool] = {}
        self.returns: dict[str, str] = {}

    def wait_ready(self) -> None:
        """Wait until the library is imported.

        Raises
        ------
        RuntimeError
            If the process ended instead. The message is the last line that it wrote.
        """
        answer = self._read()
        self.about, self.methods, self.returns = answer["about"], answer["methods"], answer["returns"]

    def ask(self, do: str, group: str, method: str, **more: Any) -> Any:
        """Run one command, and return its edge counts or seconds.

        Raises
        ------
        RuntimeError
            If the library failed. The message is the library's.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, "group": group, "method": method, **more}) + "\n")
        except OSError as error:
            raise RuntimeError("the process of this contender has ended") from error
        answer = self._read()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return next(iter(answer.values()))

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            lines = self.log.read_text().strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"exit status {self.process.wait()}")
        return json.loads(line)
