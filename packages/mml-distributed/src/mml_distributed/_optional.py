"""Optional dependencies, which are imported on first use."""

from __future__ import annotations

import importlib
from importlib.util import find_spec


def has_oneccl() -> bool:
    """Return whether oneCCL's bindings for torch are installed."""
    return find_spec("oneccl_bindings_for_pytorch") is not None


def import_oneccl() -> None:
    """Import oneCCL's bindings, which register the backend `ccl` with torch.distributed.

    Raises
    ------
    ImportError
        If the bindings are not installed. The message contains the install command and an alternative.
    """
    try:
        importlib.import_module("oneccl_bindings_for_pytorch")
    except ModuleNotFoundError as error:
        raise ImportError(
            "Process group backend 'ccl' requires oneccl_bindings_for_pytorch, which is not installed. Run "
            "pip install oneccl_bind_pt (in the version of your torch, from Intel's wheel index), or use "
            "strategy='ddp_with_xpu' (torch's xccl) on Intel GPUs and strategy='ddp_with_mpi' otherwise."
        ) from error
