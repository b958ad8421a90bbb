"""Intel GPUs, at the older toolkit's path: the same objects as in mml-xpu."""

from mml_xpu import SingleXPUStrategy, XPUAccelerator

from matsciml._not_here import missing_names

__all__ = ["SingleXPUStrategy", "XPUAccelerator"]

__getattr__ = missing_names(__name__)
