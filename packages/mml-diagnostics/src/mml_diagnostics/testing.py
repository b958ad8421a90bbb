"""Helpers for tests: read the rows of an offline Weights & Biases run."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["read_wandb"]

_BLOCK, _HEADER = 32768, 7
_FULL, _LAST = 1, 4


def read_wandb(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows that an offline run logged, in order. Nested keys are nested dicts.

    The file is a LevelDB log: seven bytes, then blocks of 32 KiB. Each fragment of a record has a header with
    checksum, length and type (full, first, middle, last). A record is a protobuf message of wandb.

    Parameters
    ----------
    path
        The run's ``.wandb`` file.

    Raises
    ------
    ImportError
        If wandb is not installed.
    """
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    wandb.teardown()  # another process writes the file and may still be writing when the run is finished
    data, at, whole = path.read_bytes(), _HEADER, b""
    while at + _HEADER <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + _HEADER])
        whole += data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if kind in (_FULL, _LAST):
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            if record.HasField("history"):
                row: dict[str, Any] = {}
                for item in record.history.item:
                    *outer, last = list(item.nested_key) or [item.key]
                    holder = row
                    for key in outer:
                        holder = holder.setdefault(key, {})
                    holder[last] = json.loads(item.value_json)
                yield row
