"""What a Trainer chooses by itself, made to know Intel GPUs.

Lightning's registries take new names, but the choices behind them know Lightning's own accelerators only:
what "auto" and "gpu" mean, which strategy one device gets (for any other accelerator the CPU's), which class
is behind "ddp" (one that opens a CUDA stream) and the device of mixed precision (CUDA). No registry leads
there: `install` puts a subclass of Lightning's (private) connector in its place. Where neither an
`XPUAccelerator` nor "auto" or "gpu" is concerned, it answers as Lightning does.
"""

from __future__ import annotations

import logging
import os
from types import ModuleType
from typing import Any, ClassVar

log = logging.getLogger(__name__)

OPT_OUT = "MML_XPU_AUTO"
"""Environment variable: 0 leaves accelerator="auto" and "gpu" to Lightning."""


class XPUConnectorMixin:
    """Lightning's connector of Trainer arguments, with Intel GPUs among the choices."""

    ours: ClassVar[ModuleType]
    """The `for_*` module of this Lightning."""
    _strategy_flag: Any
    _precision_plugin_flag: Any

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

    def _choose_strategy(self) -> Any:
        chosen = super()._choose_strategy()  # type: ignore[misc]
        if self._on_xpu() and isinstance(chosen, self.ours.SingleDeviceStrategy):
            return self.ours.SingleXPUStrategy()
        return chosen

    def _check_strategy_and_fallback(self) -> None:
        super()._check_strategy_and_fallback()  # type: ignore[misc]
        if self._on_xpu():
            self._strategy_flag = xpu_strategy(self._strategy_flag, self.ours)

    def _check_and_init_precision(self) -> Any:
        # Strategies of other families (DeepSpeed, FSDP) have precision plugins of their own.
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


def xpu_strategy(flag: Any, ours: ModuleType) -> Any:
    """Return the strategy for Intel GPUs that stands for one of Lightning's, others unchanged.

    Parameters
    ----------
    flag
        The Trainer's `strategy`: a registered name or an instance.
    ours
        The `for_*` module of this Lightning.

    Raises
    ------
    MisconfigurationException
        One of Lightning's that cannot work on an Intel GPU and cannot be replaced.
    """
    if type(flag) is ours.DDPStrategy:
        raise ours.MisconfigurationException(
            "accelerator 'xpu' with strategy=DDPStrategy(...): Lightning's class opens a CUDA stream; pass "
            "strategy='ddp', or mml_xpu.DDPXPUStrategy(...) with the same arguments"
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
            f"accelerator 'xpu' with strategy {flag!r}: the Intel GPU's runtime does not survive a fork; in "
            "a notebook pass devices=1, in a script strategy='ddp'"
        )
    return ours.DDPXPUStrategy(**entry["init_params"])


def install(ours: ModuleType) -> None:
    """Let the Trainers of one Lightning use our connector; again is harmless.

    Parameters
    ----------
    ours
        One of the `for_*` modules; its `trainer_module` holds the Trainer, and names the connector it makes.
    """
    trainer_module: Any = ours.trainer_module
    connector = getattr(trainer_module, "_AcceleratorConnector", None)
    if connector is None:
        log.warning(
            "mml-xpu does not know how this Lightning chooses: name accelerator and strategy, "
            "Trainer(accelerator='xpu', devices=1, strategy='single_xpu')"
        )
    elif not issubclass(connector, XPUConnectorMixin):
        trainer_module._AcceleratorConnector = type(
            "XPUConnector", (XPUConnectorMixin, connector), {"ours": ours, "__module__": __name__}
        )
