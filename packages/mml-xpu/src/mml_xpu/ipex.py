"""Intel's extension for PyTorch (IPEX), a legacy package that was archived at version 2.8 for torch 2.8.

torch alone supports training on Intel GPUs. IPEX adds fused optimizer steps and weights that are packed for
its kernels. Only `optimize` imports it, because importing IPEX patches torch.
"""

from __future__ import annotations

import logging
import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import torch

logger = logging.getLogger(__name__)

DISTRIBUTION = "intel-extension-for-pytorch"
INSTALL = "uv pip install 'mml-xpu[ipex]'"
DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Mapping from Lightning's precision to the dtype of weights kept in addition to their float32 masters."""


def check_installed() -> None:
    """Check that IPEX can be imported, without importing it.

    Importing IPEX with another torch version ends the process.

    Raises
    ------
    ImportError
        If IPEX is not installed or was built for another torch version.
    """
    try:
        found = version(DISTRIBUTION)
    except PackageNotFoundError:
        raise ImportError(
            f"ipex_optimize=True requires {DISTRIBUTION}, which is not installed. Run {INSTALL} in a "
            "separate environment, because it requires torch 2.8, or omit ipex_optimize."
        ) from None
    if _minor(found) != _minor(torch.__version__):
        raise ImportError(
            f"{DISTRIBUTION} {found} requires torch {_minor(found)}, but torch {torch.__version__} is "
            f"installed. Run {INSTALL} in a separate environment, or omit ipex_optimize."
        )


def optimize(
    module: torch.nn.Module, optimizers: list[torch.optim.Optimizer], precision: str = "32-true"
) -> None:
    """Optimize a module and its optimizer for training, in place, with `ipex.optimize`.

    Parameters
    ----------
    module
        The module, on its device.
    optimizers
        Its optimizers. Exactly one is supported.
    precision
        The Trainer's precision. With "bf16-mixed" and "16-mixed", IPEX also keeps the weights in that type.

    Raises
    ------
    ImportError
        If IPEX is not usable. See :func:`check_installed`.
    ValueError
        If the number of optimizers is not one.
    """
    check_installed()
    if len(optimizers) != 1:
        raise ValueError(
            f"ipex_optimize=True requires exactly one optimizer, got {len(optimizers)}. Omit ipex_optimize."
        )
    ipex = import_module("intel_extension_for_pytorch")
    was_training = module.training
    # ipex.optimize prepares a model for inference if it has no optimizer or is in eval mode.
    ipex.optimize(module.train(), optimizer=optimizers[0], dtype=DTYPES.get(precision), inplace=True)
    module.train(was_training)
    logger.info(
        "IPEX %s optimized %s and its %s",
        *(ipex.__version__, type(module).__name__, type(optimizers[0]).__name__),
    )


def _minor(text: str) -> str:
    """Return the major and minor version, such as "2.8" for "2.8.10+xpu"."""
    found = re.match(r"\d+\.\d+", text)
    return found[0] if found else text
