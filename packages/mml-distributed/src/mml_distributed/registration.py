"""Register the strategies of this package with every installed Lightning package."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from mml_distributed._lightning import class_modules

log = logging.getLogger(__name__)

STRATEGIES: dict[str, dict[str, Any]] = {
    "ddp_with_mpi": {},
    "ddp_with_xpu": {"required_accelerator": "xpu"},
    "ddp_with_ccl": {"process_group_backend": "ccl"},
}
"""Mapping from registered name to arguments of `MPIDDPStrategy`."""


def register() -> None:
    """Register the strategies of this package.

    Repeated calls have no effect. A name that another package has registered is left unchanged, with a
    warning.
    """
    for classes in class_modules():
        register_classes(classes)


def register_classes(classes: ModuleType) -> None:
    """Register the strategies of one of the `for_*` modules in that module's registry."""
    registry, ours = classes.StrategyRegistry, classes.MPIDDPStrategy
    for name, arguments in STRATEGIES.items():
        if name not in registry:
            registry.register(
                name, ours, description="DDP of processes started by an MPI launcher", **arguments
            )
        elif registry[name]["strategy"] is not ours:
            log.warning(
                "the strategy name %r is already registered by %r: mml-distributed leaves it alone",
                *(name, registry[name]["strategy"]),
            )
