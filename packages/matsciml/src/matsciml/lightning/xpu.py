"""Intel GPUs under the older toolkit's import path. The objects are those of mml-xpu."""

from mml_xpu import SingleXPUStrategy, XPUAccelerator

from matsciml._not_here import missing_names

__all__ = ["SingleXPUStrategy", "XPUAccelerator"]

__getattr__ = missing_names(__name__)
