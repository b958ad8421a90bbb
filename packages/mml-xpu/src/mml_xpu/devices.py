"""What torch says about Intel GPUs: how many there are, which ones were asked for, why there are none."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

log = logging.getLogger(__name__)

INSTALL = "uv pip install --torch-backend=xpu torch"


def device_count() -> int:
    """Count the Intel GPUs that torch can use: 0 where the build or the machine has none; never raises.

    `hasattr(torch, "xpu")` says nothing: the module is there in CPU and CUDA builds, too.
    """
    try:
        return int(torch.xpu.device_count()) if torch.xpu.is_available() else 0
    except (
        Exception
    ) as error:  # a broken driver raises all sorts of things, and "not available" is the answer
        log.debug("torch.xpu cannot be asked for its devices: %s", error)
        return 0


def why_none() -> str:
    """One sentence: why no Intel GPU is visible to torch, and what to do."""
    if getattr(torch.version, "xpu", None) is None:
        return (
            f"no Intel GPU visible to torch: torch {torch.__version__} is a CPU or CUDA build of torch, "
            f"without XPU support; install the XPU build ({INSTALL}), or pass accelerator='cpu'"
        )
    return (
        f"no Intel GPU visible to torch: torch {torch.__version__} is built for XPU but finds no device; "
        "check the GPU driver (level-zero), that you may open /dev/dri/renderD* (group render), and the "
        "variables ZE_AFFINITY_MASK and ONEAPI_DEVICE_SELECTOR; or pass accelerator='cpu'"
    )


def parse_devices(devices: int | str | Sequence[int], count: int) -> list[int]:
    """Return the indices of the devices that a Trainer's `devices` asks for.

    Parameters
    ----------
    devices
        A number of devices (the first ones are taken; -1: all), "auto" (all), a list of indices, or one of
        these as a string: "2" is a number, "0,1" and "1," are indices, as everywhere in Lightning.
    count
        How many devices there are.

    Returns
    -------
    list of int
        In the order asked for, without repetition.

    Raises
    ------
    ValueError
        No device, a repeated one, more than there are, or one that does not exist.
    TypeError
        Anything else than the forms above.
    """
    if isinstance(devices, str):
        indices = _parse_text(devices, count)
    elif isinstance(devices, bool):
        raise TypeError(f"devices={devices!r} is neither a number of Intel GPUs nor a list of their indices")
    elif isinstance(devices, int):
        indices = _first(devices, devices, count)
    elif isinstance(devices, Sequence):
        wrong = [index for index in devices if isinstance(index, bool) or not isinstance(index, int)]
        if wrong:
            raise TypeError(f"devices={devices!r} holds {wrong[0]!r}: indices of Intel GPUs are integers")
        indices = [int(index) for index in devices]
    else:
        raise TypeError(f"devices={devices!r} is neither a number of Intel GPUs nor a list of their indices")
    missing = [index for index in indices if not 0 <= index < count]
    if missing:
        raise ValueError(f"devices={devices!r} asks for Intel GPU {missing[0]}, but {_inventory(count)}")
    if not indices:
        raise ValueError(
            f"devices={devices!r} asks for no device: pass devices=1 or more, or accelerator='cpu'"
        )
    if len(set(indices)) != len(indices):
        raise ValueError(f"devices={devices!r} names an Intel GPU twice: name each one once")
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
            f"devices={devices!r} is not understood: pass a number ('2'), indices ('0,1') or 'auto'"
        ) from None
    return _first(number, devices, count)


def _first(number: int, devices: int | str, count: int) -> list[int]:
    if number == -1:
        return list(range(count))
    if number < 0 or number > count:
        raise ValueError(f"devices={devices!r} asks for {number} Intel GPUs, but {_inventory(count)}")
    return list(range(number))


def _inventory(count: int) -> str:
    return f"torch sees {count}" + (f" (0 to {count - 1})" if count else "")
