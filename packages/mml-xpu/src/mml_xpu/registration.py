"""Register the accelerator and the strategy of this package with every installed Lightning package."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from mml_xpu import selection
from mml_xpu._lightning import class_modules

log = logging.getLogger(__name__)


def register() -> None:
    """Register accelerator `xpu` and strategy `single_xpu`, and make Trainers select them automatically.

    Repeated calls have no effect. A name that another package has registered is left unchanged, with a
    warning.
    """
    for classes in class_modules():
        register_classes(classes)
        selection.install(classes)


def register_classes(classes: ModuleType) -> None:
    """Register the accelerator and strategy of one of the `for_*` modules in that module's registries."""
    accelerator, strategy = classes.XPUAccelerator, classes.SingleXPUStrategy
    if _is_free(classes.AcceleratorRegistry, "accelerator", accelerator.name(), accelerator):
        classes.AcceleratorRegistry.register(
            accelerator.name(), accelerator, description="Intel GPUs (torch.xpu)"
        )
    if _is_free(classes.StrategyRegistry, "strategy", strategy.strategy_name, strategy):
        classes.StrategyRegistry.register(strategy.strategy_name, strategy, description="One Intel GPU")


def _is_free(registry: dict[str, Any], kind: str, name: str, ours: type) -> bool:
    if name not in registry:
        return True
    taken = registry[name][kind]
    if taken is not ours:
        log.warning(
            "the %s name %r is already registered by %r: mml-xpu leaves it alone, its %s is not registered",
            *(kind, name, taken, ours.__name__),
        )
    return False
