"""Register the accelerator and the strategies of this package in the registries of one Lightning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import ModuleType

logger = logging.getLogger(__name__)


def register_classes(classes: ModuleType) -> None:
    """Register accelerator `xpu` and the strategies `single_xpu` and `ddp_xpu`.

    A name that another package has registered is left unchanged, with a warning.

    Parameters
    ----------
    classes
        One of the `for_*` modules, which has the classes and the registries.
    """
    accelerator = classes.XPUAccelerator
    if _is_free(classes.AcceleratorRegistry, "accelerator", accelerator.name(), accelerator):
        classes.AcceleratorRegistry.register(
            accelerator.name(), accelerator, description="Intel GPUs (torch.xpu)"
        )
    for strategy, description in (
        (classes.SingleXPUStrategy, "One Intel GPU"),
        (classes.DDPXPUStrategy, "DDP on several Intel GPUs"),
    ):
        if _is_free(classes.StrategyRegistry, "strategy", strategy.strategy_name, strategy):
            classes.StrategyRegistry.register(strategy.strategy_name, strategy, description=description)


def _is_free(registry: Mapping[str, Mapping[str, object]], kind: str, name: str, ours: type) -> bool:
    if name not in registry:
        return True
    taken = registry[name][kind]
    if taken is not ours:
        logger.warning(
            "The %s name %r is already registered by %r, so mml-xpu does not register its %s. Pass an "
            "instance of mml_xpu.%s to the Trainer instead.",
            *(kind, name, taken, ours.__name__, ours.__name__),
        )
    return False
