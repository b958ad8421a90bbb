"""Register the strategies of this package in the registry of one Lightning."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

STRATEGIES: dict[str, dict[str, Any]] = {
    "ddp_with_mpi": {},
    "ddp_with_xpu": {"required_accelerator": "xpu"},
    "ddp_with_ccl": {"process_group_backend": "ccl"},
}
"""Mapping from registered name to arguments of `MPIDDPStrategy`."""


def register_classes(classes: ModuleType) -> None:
    """Register the strategies.

    A name that another package has registered is left unchanged, with a warning.

    Parameters
    ----------
    classes
        One of the `for_*` modules, which has the classes and the registry.
    """
    registry, ours = classes.StrategyRegistry, classes.MPIDDPStrategy
    for name, arguments in STRATEGIES.items():
        if name not in registry:
            registry.register(
                name, ours, description="DDP of processes started by an MPI launcher", **arguments
            )
        elif registry[name]["strategy"] is not ours:
            logger.warning(
                "The strategy name %r is already registered by %r, so mml-distributed does not register it. "
                "Pass an instance of mml_distributed.MPIDDPStrategy to the Trainer instead.",
                *(name, registry[name]["strategy"]),
            )
