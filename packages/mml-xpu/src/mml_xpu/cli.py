"""Check the Intel GPUs of this machine: list them and compare their results with those of the CPU."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence

import torch

from mml_xpu import check, devices, tiles

GIB = 2**30
VARIABLES = (tiles.HIERARCHY, tiles.MASK, "ONEAPI_DEVICE_SELECTOR", "MML_XPU_AUTO")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Command-line arguments. Default: `sys.argv[1:]`.

    Returns
    -------
    int
        Exit status: 0 if a device was found and all results agree, and 1 otherwise. Unknown arguments exit
        with status 2.
    """
    parser = argparse.ArgumentParser(prog="mml-xpu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checks = commands.add_parser(
        "check", help="list the Intel GPUs, measure their speed, and compare their results with the CPU"
    )
    checks.add_argument("--cpu", action="store_true", help="run the checks on the CPU instead")
    checks.add_argument(
        "--size", type=_size, help="number of rows of the timed matrices (default: 8192, or 1024 on the CPU)"
    )
    options = parser.parse_args(arguments)
    lines, good = report(on_cpu=options.cpu, size=options.size)
    print("\n".join(lines))  # noqa: T201  the command's output
    return 0 if good else 1


def report(*, on_cpu: bool = False, size: int | None = None) -> tuple[list[str], bool]:
    """Check every device.

    Parameters
    ----------
    on_cpu
        Whether to check the CPU instead of the Intel GPUs.
    size
        Number of rows of the timed matrices. Default: 8192, or 1024 on the CPU.

    Returns
    -------
    lines : list of str
        Lines of the report.
    good : bool
        Whether a device was found and all results agree with the CPU.
    """
    count = devices.device_count()
    build = getattr(torch.version, "xpu", None)
    lines = [
        f"Python {platform.python_version()}, torch {torch.__version__} "
        + (f"built for XPU ({build})" if build else "built without XPU support"),
        *(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ),
    ]
    cards = tiles.read_cards()
    lines += [
        f"card {card.address}: {card.tiles} compute tile{'s' if card.tiles > 1 else ''}" for card in cards
    ]
    chosen = [torch.device("cpu")] if on_cpu else [torch.device("xpu", index) for index in range(count)]
    if not chosen:
        return [*lines, f"{devices.why_none()} To run the checks on the CPU: mml-xpu check --cpu"], False
    good = True
    if not on_cpu:
        try:
            found = tiles.places(cards, count, os.environ)
        except ValueError as error:
            lines, good, found = [*lines, f"WRONG: {error}"], False, None
        lines += [
            f"xpu:{index} is tile {', '.join(map(str, place.tiles))} of the card {place.card.address}"
            for index, place in enumerate(found or ())
        ]
    for device in chosen:
        device_lines, device_good = check_device(device, size)
        lines += device_lines
        good = good and device_good
    return [
        *lines,
        "All results agree with the CPU." if good else "Some checks failed. See WRONG above.",
    ], good


def check_device(device: torch.device, size: int | None = None) -> tuple[list[str], bool]:
    """Check one device. Return the lines of the report, and whether all results agree with the CPU.

    Errors of torch or the driver are added to the report, so that the next device can still be checked.
    """
    lines, good = [f"{device}:"], True
    try:
        if device.type == "xpu":
            lines += _describe(device)
        comparisons = [
            check.compare_matmul(device, torch.float32),
            check.compare_matmul(device, torch.bfloat16),
            check.compare_training_step(device),
            check.compare_training_step(device, autocast=True),
        ]
        for one in comparisons:
            good = good and one.agrees
            verdict = "agrees" if one.agrees else "WRONG"
            difference = f"relative difference {one.difference:.1e} (at most {one.tolerance:.0e})"
            lines.append(f"  {one.what}: {verdict}, {difference}")
        rate = check.matmul_rate(device, size or (1024 if device.type == "cpu" else 8192))
        lines.append(
            f"  bfloat16 products of {rate.size} x {rate.size}: {rate.teraflops:.3g} TFLOP/s, "
            f"median of {rate.repeats}"
        )
    except (RuntimeError, AssertionError) as error:
        # torch raises AssertionError if it was not built for the device.
        return [*lines, f"  WRONG: {error}"], False
    return lines, good


def _describe(device: torch.device) -> list[str]:
    properties = torch.xpu.get_device_properties(device)
    memory = f"{properties.total_memory / GIB:.1f} GiB"
    try:
        memory += f", {torch.xpu.mem_get_info(device)[0] / GIB:.1f} GiB free"
    except RuntimeError:
        memory += ", free memory not reported by the driver"
    units, driver = properties.max_compute_units, properties.driver_version
    return [f"  {properties.name}: {memory}, {units} compute units, driver {driver}"]


def _size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65536:
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to 65536, got {text!r}")
    return int(text)
