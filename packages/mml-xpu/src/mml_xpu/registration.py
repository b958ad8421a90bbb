"""Entry of our names and choices in every installed Lightning."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from mml_xpu import selection
from mml_xpu._lightning import class_modules

log = logging.getLogger(__name__)


def register() -> None:
    """Register accelerator `xpu` and strategy `single_xpu`, and let Trainers choose them by themselves.

    Again is harmless; names that others have taken are left alone.
    """
    for classes in class_modules():
        register_classes(classes)
        selection.install(classes)


def register_classes(classes: ModuleType) -> None:
    """Register what one of the `for_*` modules holds in the registries that it names."""
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
