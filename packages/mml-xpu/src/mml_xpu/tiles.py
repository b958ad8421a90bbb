"""Cards and their compute tiles: which of them torch's device numbers are.

Some Intel GPUs (Data Center GPU Max) have several tiles on a card. ZE_FLAT_DEVICE_HIERARCHY, a variable of
the Level Zero driver, says what a device is: FLAT (the default) and COMBINED, each tile; COMPOSITE, each
card. ZE_AFFINITY_MASK hides devices. Source: the oneAPI Level Zero programming guide, "Environment
Variables". How many tiles a card has is read from Linux (`/sys/class/drm`): torch does not tell.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

HIERARCHY = "ZE_FLAT_DEVICE_HIERARCHY"
MASK = "ZE_AFFINITY_MASK"
DRM = Path("/sys/class/drm")
INTEL = "0x8086"


class Card(NamedTuple):
    """A GPU on the PCI bus."""

    address: str
    """On the PCI bus, "0000:3a:00.0"."""
    tiles: int


class Place(NamedTuple):
    """Where a device of torch is: a card, and the tiles of it that the device is."""

    card: Card
    tiles: tuple[int, ...]


def read_cards(drm: Path = DRM) -> list[Card]:
    """Return the Intel GPUs that Linux tells of, in the order of their PCI addresses.

    The driver xe has a folder `tile<n>` for each tile beside the device. The driver i915 has only `gt<n>`,
    and on GPUs for client machines the media engine is one, too: the number of tiles stays at 1 there unless
    the device is one of the Data Center GPU Max series (PCI identifiers 0x0bd0 to 0x0bdb).
    """
    cards = []
    for folder in sorted(drm.glob("card*")):
        if not re.fullmatch(r"card\d+", folder.name):
            continue  # a connector, "card0-HDMI-A-1"
        device = folder / "device"
        try:
            if (device / "vendor").read_text(encoding="ascii").strip() != INTEL:
                continue
            model = int((device / "device").read_text(encoding="ascii"), 16)
        except (OSError, ValueError) as error:
            log.debug("%s is not read: %s", folder, error)
            continue
        tiles = len(list(device.glob("tile[0-9]*")))
        if not tiles and 0x0BD0 <= model <= 0x0BDB:
            tiles = len(list((folder / "gt").glob("gt[0-9]*")))
        cards.append(Card(device.resolve().name, max(tiles, 1)))
    return sorted(cards)


def hierarchy(environment: Mapping[str, str]) -> str:
    """Return FLAT, COMPOSITE or COMBINED: what a device of this process is.

    Raises
    ------
    ValueError
        The variable holds something else, which the driver ignores without a word.
    """
    value = environment.get(HIERARCHY, "FLAT").strip().upper() or "FLAT"
    if value not in ("FLAT", "COMPOSITE", "COMBINED"):
        raise ValueError(f"{HIERARCHY}={environment[HIERARCHY]!r}: it is FLAT, COMPOSITE or COMBINED")
    return value


def places(cards: Sequence[Card], count: int, environment: Mapping[str, str]) -> list[Place] | None:
    """Return where each of torch's devices is.

    Parameters
    ----------
    cards
        Of the machine.
    count
        Number of devices that torch sees.
    environment
        Environment variables of this process.

    Returns
    -------
    list of Place or None
        None where cards and count do not agree (an integrated GPU beside, a container that hides some, a mask
        of sub-devices): nothing is said then, rather than something wrong.

    Raises
    ------
    ValueError
        See :func:`hierarchy`.
    """
    if hierarchy(environment) == "COMPOSITE":
        found = [Place(card, tuple(range(card.tiles))) for card in cards]
    else:
        found = [Place(card, (tile,)) for card in cards for tile in range(card.tiles)]
    mask = environment.get(MASK, "").strip()
    if mask:
        if not re.fullmatch(r"\d+(\s*,\s*\d+)*", mask):
            return None  # "0.1": a tile of a card
        shown = {int(part) for part in mask.split(",")}
        found = [place for index, place in enumerate(found) if index in shown]
    return found if len(found) == count else None


def half_idle(found: Sequence[Place], selected: Iterable[int]) -> list[str]:
    """Say for each card which of its tiles the selected devices leave idle, where they use others of it.

    Parameters
    ----------
    found
        From :func:`places`.
    selected
        Indices of the devices that train.

    Returns
    -------
    list of str
        One sentence for each card that is used in part.
    """
    used: dict[Card, set[int]] = {}
    for index in selected:
        used.setdefault(found[index].card, set()).update(found[index].tiles)
    sentences = []
    for card, tiles in used.items():
        idle = [tile for tile in range(card.tiles) if tile not in tiles]
        if not idle:
            continue
        free = [i for i, place in enumerate(found) if place.card == card and not set(place.tiles) <= tiles]
        mine = [i for i, place in enumerate(found) if place.card == card and set(place.tiles) <= tiles]
        remedy = (
            f"devices={sorted([*mine, *free])} takes all of it" if free else f"{MASK} hides the rest of it"
        )
        sentences.append(
            f"{len(idle)} of the {card.tiles} compute tiles of the Intel GPU at {card.address} stay idle: "
            f"a device is one tile ({HIERARCHY}); {remedy}"
        )
    return sentences
