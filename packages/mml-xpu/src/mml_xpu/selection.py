"""Support for Intel GPUs in the Trainer's automatic choices, enabled by `enable_auto`.

Lightning's registries accept new names, but the Trainer's choices consider only Lightning's own accelerators.
The choices are the meaning of "auto" and "gpu", the strategy for one device (for other accelerators, the
CPU's), the class of "ddp" (which opens a CUDA stream), and the device of mixed precision (CUDA). No registry
controls them. `enable_auto` therefore replaces Lightning's private connector class with a subclass. The
subclass changes nothing unless the Trainer uses an `XPUAccelerator`, "auto" or "gpu".
"""

from __future__ import annotations

import logging
import os
from types import ModuleType
from typing import ClassVar

logger = logging.getLogger(__name__)

OPT_OUT = "MML_XPU_AUTO"
"""Environment variable. The value 0 leaves accelerator="auto" and "gpu" to Lightning."""

_enabled = False
_lightnings: list[ModuleType] = []
"""The `for_*` modules that are imported."""


def enable_auto() -> None:
    """Make the Trainer choose Intel GPUs and their strategies automatically.

    With this function, `accelerator="auto"` and `"gpu"` select an Intel GPU if no other GPU is available,
    `strategy="auto"` selects the strategy for the number of devices, and `"ddp"` and its variants select
    `DDPXPUStrategy`. It replaces Lightning's private class `_AcceleratorConnector` with a subclass, because
    Lightning has no public way to extend these choices. Call it before the Trainer is created. If Lightning
    is imported later, the class is replaced at that time. Repeated calls have no effect.
    """
    global _enabled
    _enabled = True
    for ours in _lightnings:
        install(ours)


def add(ours: ModuleType) -> None:
    """Add the `for_*` module of a Lightning that has been imported."""
    _lightnings.append(ours)
    if _enabled:
        install(ours)


class XPUConnectorMixin:
    """Lightning's connector of Trainer arguments, extended by Intel GPUs."""

    ours: ClassVar[ModuleType]
    """The `for_*` module of this Lightning package."""
    _strategy_flag: object
    _precision_plugin_flag: object

    def _choose_auto_accelerator(self) -> str:
        chosen: str = super()._choose_auto_accelerator()  # type: ignore[misc]
        return "xpu" if chosen == "cpu" and self._finds_xpu() else chosen

    def _choose_gpu_accelerator_backend(self) -> str:
        try:
            chosen: str = super()._choose_gpu_accelerator_backend()  # type: ignore[misc]
        except self.ours.MisconfigurationException:
            if self._finds_xpu():
                return "xpu"
            raise
        return chosen

    def _choose_strategy(self) -> object:
        chosen = super()._choose_strategy()  # type: ignore[misc]
        if self._on_xpu() and isinstance(chosen, self.ours.SingleDeviceStrategy):
            return self.ours.SingleXPUStrategy()
        return chosen

    def _check_strategy_and_fallback(self) -> None:
        super()._check_strategy_and_fallback()  # type: ignore[misc]
        if self._on_xpu():
            self._strategy_flag = xpu_strategy(self._strategy_flag, self.ours)

    def _check_and_init_precision(self) -> object:
        # Strategies of other families (DeepSpeed, FSDP) use their own precision plugins.
        families = (self.ours.SingleDeviceStrategy, self.ours.DDPStrategy)
        if (
            self._on_xpu()
            and isinstance(self.strategy, families)  # type: ignore[attr-defined]
            and self._precision_plugin_flag is None
            and self._precision_flag in ("16-mixed", "bf16-mixed")  # type: ignore[attr-defined]
        ):
            self._precision_plugin_flag = self.ours.MixedPrecision(self._precision_flag, "xpu")  # type: ignore[attr-defined]
        return super()._check_and_init_precision()  # type: ignore[misc]

    def _on_xpu(self) -> bool:
        return isinstance(self.accelerator, self.ours.XPUAccelerator)  # type: ignore[attr-defined]

    def _finds_xpu(self) -> bool:
        registry, accelerator = self.ours.AcceleratorRegistry, self.ours.XPUAccelerator
        if os.environ.get(OPT_OUT, "1").strip().lower() in ("0", "false", "off", "no"):
            return False
        is_ours = "xpu" in registry and registry["xpu"]["accelerator"] is accelerator
        return is_ours and accelerator.is_available()


def xpu_strategy(flag: object, ours: ModuleType) -> object:
    """Replace a Lightning strategy with its counterpart for Intel GPUs. Return other strategies unchanged.

    Parameters
    ----------
    flag
        The Trainer's `strategy`: a registered name or an instance.
    ours
        The `for_*` module of this Lightning package.

    Raises
    ------
    MisconfigurationException
        If a Lightning strategy does not work on Intel GPUs and cannot be replaced.
    """
    if type(flag) is ours.DDPStrategy:
        raise ours.MisconfigurationException(
            "accelerator 'xpu' does not support Lightning's DDPStrategy, which opens a CUDA stream. Pass "
            "strategy='ddp_xpu', or mml_xpu.DDPXPUStrategy(...) with the same arguments."
        )
    if not isinstance(flag, str):
        return flag
    entry = ours.StrategyRegistry[flag]
    if entry["strategy"] is ours.SingleDeviceStrategy:
        return ours.SingleXPUStrategy(**entry["init_params"])
    if entry["strategy"] is not ours.DDPStrategy:
        return flag
    if entry["init_params"].get("start_method") == "fork":
        raise ours.MisconfigurationException(
            f"accelerator 'xpu' does not support strategy {flag!r}, because the GPU's runtime does not "
            "survive a fork. Pass devices=1 in a notebook, or strategy='ddp_xpu' in a script."
        )
    return ours.DDPXPUStrategy(**entry["init_params"])


def connector_class(ours: ModuleType) -> type | None:
    """Return the class that extends the connector of one Lightning package, or None if it has no connector.

    The class belongs to `ours`, which must assign it to the name `XPUConnector`, so that a Trainer can be
    pickled (`strategy="ddp_spawn"` pickles it).

    Parameters
    ----------
    ours
        One of the `for_*` modules. Its `trainer_module` defines the Trainer and refers to the connector
        class.
    """
    connector = getattr(ours.trainer_module, "_AcceleratorConnector", None)
    if connector is None:
        return None
    return type("XPUConnector", (XPUConnectorMixin, connector), {"ours": ours, "__module__": ours.__name__})


def install(ours: ModuleType) -> None:
    """Make the Trainers of one Lightning package use the connector of this package.

    Repeated calls have no effect.

    Parameters
    ----------
    ours
        One of the `for_*` modules.
    """
    if ours.XPUConnector is None:
        logger.warning(
            "mml_xpu.enable_auto() does not support this version of Lightning. Pass accelerator and "
            "strategy, such as Trainer(accelerator='xpu', devices=1, strategy='single_xpu')."
        )
    else:
        ours.trainer_module._AcceleratorConnector = ours.XPUConnector
