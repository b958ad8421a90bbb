"""Intel GPUs that torch can use: their number, the devices that a Trainer selects, and why none is found."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

logger = logging.getLogger(__name__)

INSTALL = "uv pip install --torch-backend=xpu torch"
_NOT_DEVICES = "devices must be a number, a list of device indices or a string, got {!r}"


def device_count() -> int:
    """Return the number of Intel GPUs that torch can use. Never raises an error.

    The number is 0 if the torch build or the machine does not support Intel GPUs. `hasattr(torch, "xpu")` is
    not a sufficient test, because CPU and CUDA builds have this module as well.
    """
    try:
        return int(torch.xpu.device_count()) if torch.xpu.is_available() else 0
    except Exception as error:  # a broken driver may raise any error, and means "not available"
        logger.debug("torch.xpu did not report its devices: %s", error)
        return 0


def why_none() -> str:
    """Return a message that explains why torch does not find an Intel GPU, and how to fix it."""
    if getattr(torch.version, "xpu", None) is None:
        return (
            f"torch {torch.__version__} does not support Intel GPUs, because it is a CPU or CUDA build. "
            f"Install the XPU build ({INSTALL}), or pass accelerator='cpu'."
        )
    return (
        f"torch {torch.__version__} is built for Intel GPUs but does not find one. Check the GPU driver "
        "(level-zero), your permission to open /dev/dri/renderD* (group render), and the environment "
        "variables ZE_AFFINITY_MASK and ONEAPI_DEVICE_SELECTOR, or pass accelerator='cpu'."
    )


def parse_devices(devices: int | str | Sequence[int], count: int) -> list[int]:
    """Return the indices of the devices that a Trainer's `devices` argument selects.

    Parameters
    ----------
    devices
        A number of devices (the first ones are selected, -1 selects all), "auto" (all devices), a list of
        indices, or a number or list as a string. As everywhere in Lightning, "2" is a number, and "0,1" and
        "1," are indices.
    count
        Number of available devices.

    Returns
    -------
    list of int
        Device indices in the requested order, without repetition.

    Raises
    ------
    ValueError
        If no device is selected, a device is repeated, more devices are selected than are available, or a
        device does not exist.
    TypeError
        If `devices` has any other form.
    """
    if isinstance(devices, str):
        indices = _parse_text(devices, count)
    elif isinstance(devices, bool):
        raise TypeError(_NOT_DEVICES.format(devices))
    elif isinstance(devices, int):
        indices = _first(devices, devices, count)
    elif isinstance(devices, Sequence):
        wrong = [index for index in devices if isinstance(index, bool) or not isinstance(index, int)]
        if wrong:
            raise TypeError(
                f"devices={devices!r} contains {wrong[0]!r}. Pass a list of integer device indices."
            )
        indices = [int(index) for index in devices]
    else:
        raise TypeError(_NOT_DEVICES.format(devices))
    missing = [index for index in indices if not 0 <= index < count]
    if missing:
        raise ValueError(f"devices={devices!r} selects Intel GPU {missing[0]}, but {_inventory(count)}")
    if not indices:
        raise ValueError(
            f"devices={devices!r} selects no device. Pass devices=1 or more, or accelerator='cpu'."
        )
    if len(set(indices)) != len(indices):
        raise ValueError(f"devices={devices!r} selects the same Intel GPU twice. List each index once.")
    return indices


def _parse_text(devices: str, count: int) -> list[int]:
    if devices == "auto":
        return list(range(count))
    try:
        if "," in devices:
            return [int(part) for part in devices.split(",") if part.strip()]
        number = int(devices)
    except ValueError:
        raise ValueError(
            f"devices={devices!r} is invalid. Pass a number ('2'), indices ('0,1') or 'auto'."
        ) from None
    return _first(number, devices, count)


def _first(number: int, devices: int | str, count: int) -> list[int]:
    if number == -1:
        return list(range(count))
    if number < 0 or number > count:
        raise ValueError(f"devices={devices!r} selects {number} Intel GPUs, but {_inventory(count)}")
    return list(range(number))


def _inventory(count: int) -> str:
    return f"torch finds {count}" + (f" (0 to {count - 1})" if count else "")
