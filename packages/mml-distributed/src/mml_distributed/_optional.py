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
            "process group backend 'ccl' needs oneccl_bindings_for_pytorch, which is not installed: pip "
            "install oneccl_bind_pt (in the version of your torch, from Intel's wheel index); or use "
            "strategy='ddp_with_xpu', with torch's own xccl, on Intel GPUs, strategy='ddp_with_mpi' elsewhere"
        ) from error
