"""Intel GPUs under the older toolkit's import path. The objects are those of mml-xpu."""

from mml_xpu import SingleXPUStrategy, XPUAccelerator

__all__ = ["SingleXPUStrategy", "XPUAccelerator"]
