"""Intel's extension for PyTorch (IPEX), the legacy stack: archived at 2.8, and for torch 2.8 only.

torch has what XPU training needs; IPEX adds fused optimizer steps and weights packed for its kernels. It is
imported by `optimize` and nowhere else: importing it patches torch.
"""

from __future__ import annotations

import logging
import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

log = logging.getLogger(__name__)

DISTRIBUTION = "intel-extension-for-pytorch"
INSTALL = "uv pip install 'mml-xpu[ipex]'"
DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Lightning's precision -> the dtype that weights are kept in beside their float32 masters."""


def check_installed() -> None:
    """Find out whether IPEX can be imported, without doing it: beside a wrong torch, that ends the process.

    Raises
    ------
    ImportError
        IPEX is not installed, or is made for another torch.
    """
    try:
        found = version(DISTRIBUTION)
    except PackageNotFoundError:
        raise ImportError(
            f"ipex_optimize=True needs {DISTRIBUTION}, which is not installed: {INSTALL} in an environment "
            "of its own (it needs torch 2.8); without it, leave ipex_optimize out"
        ) from None
    if _minor(found) != _minor(torch.__version__):
        raise ImportError(
            f"ipex_optimize=True: {DISTRIBUTION} {found} is for torch {_minor(found)}, this is torch "
            f"{torch.__version__}: {INSTALL} in an environment of its own; or leave ipex_optimize out"
        )


def optimize(module: torch.nn.Module, optimizers: list[Any], precision: str = "32-true") -> None:
    """Let `ipex.optimize` change a module and its optimizer in place, for training.

    Parameters
    ----------
    module
        The module, on its device.
    optimizers
        Its optimizers: exactly one.
    precision
        Of the Trainer: with "bf16-mixed" and "16-mixed", weights are kept in that type, too.

    Raises
    ------
    ImportError
        See :func:`check_installed`.
    ValueError
        Several optimizers, or none: IPEX takes a module with one.
    """
    check_installed()
    if len(optimizers) != 1:
        raise ValueError(
            f"ipex_optimize=True with {len(optimizers)} optimizers: IPEX optimizes a module and one "
            "optimizer; leave ipex_optimize out"
        )
    ipex = import_module("intel_extension_for_pytorch")
    was_training = module.training
    # ipex.optimize takes a model without an optimizer for inference, and one in eval mode, too.
    ipex.optimize(module.train(), optimizer=optimizers[0], dtype=DTYPES.get(precision), inplace=True)
    module.train(was_training)
    log.info(
        "IPEX %s optimized %s and its %s",
        *(ipex.__version__, type(module).__name__, type(optimizers[0]).__name__),
    )


def _minor(text: str) -> str:
    """Return "2.8" of "2.8.10+xpu"."""
    found = re.match(r"\d+\.\d+", text)
    return found[0] if found else text
