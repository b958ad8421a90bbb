"""Map torch's device indices to cards and their compute tiles.

Some Intel GPUs (Data Center GPU Max) have several tiles on a card. The variable ZE_FLAT_DEVICE_HIERARCHY of
the Level Zero driver selects whether a device is a tile (FLAT, the default, and COMBINED) or a whole card
(COMPOSITE). ZE_AFFINITY_MASK hides devices. Source: the oneAPI Level Zero programming guide, "Environment
Variables". The number of tiles of a card is read from Linux (`/sys/class/drm`), because torch does not
provide it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

HIERARCHY = "ZE_FLAT_DEVICE_HIERARCHY"
MASK = "ZE_AFFINITY_MASK"
DRM = Path("/sys/class/drm")
INTEL = "0x8086"


class Card(NamedTuple):
    """A GPU on the PCI bus."""

    address: str
    """PCI address, such as "0000:3a:00.0"."""
    tiles: int


class Place(NamedTuple):
    """The card and the tiles that a torch device consists of."""

    card: Card
    tiles: tuple[int, ...]


def read_cards(drm: Path = DRM) -> list[Card]:
    """Return the Intel GPUs that Linux lists, sorted by PCI address.

    The xe driver creates a folder `tile<n>` for each tile next to the device. The i915 driver creates only
    `gt<n>` folders, and on client GPUs one of them is the media engine. With i915, the number of tiles is
    therefore 1 unless the device belongs to the Data Center GPU Max series (PCI identifiers 0x0bd0 to
    0x0bdb).
    """
    cards = []
    for folder in sorted(drm.glob("card*")):
        if not re.fullmatch(r"card\d+", folder.name):
            continue  # a connector, such as "card0-HDMI-A-1"
        device = folder / "device"
        try:
            if (device / "vendor").read_text(encoding="ascii").strip() != INTEL:
                continue
            model = int((device / "device").read_text(encoding="ascii"), 16)
        except (OSError, ValueError) as error:
            logger.debug("%s is not read: %s", folder, error)
            continue
        tiles = len(list(device.glob("tile[0-9]*")))
        if not tiles and 0x0BD0 <= model <= 0x0BDB:
            tiles = len(list((folder / "gt").glob("gt[0-9]*")))
        cards.append(Card(device.resolve().name, max(tiles, 1)))
    return sorted(cards)


def hierarchy(environment: Mapping[str, str]) -> str:
    """Return the device hierarchy of this process: FLAT, COMPOSITE or COMBINED.

    Raises
    ------
    ValueError
        If the variable has any other value. The driver silently ignores other values.
    """
    value = environment.get(HIERARCHY, "FLAT").strip().upper() or "FLAT"
    if value not in ("FLAT", "COMPOSITE", "COMBINED"):
        raise ValueError(f"{HIERARCHY} must be FLAT, COMPOSITE or COMBINED, got {environment[HIERARCHY]!r}")
    return value


def places(cards: Sequence[Card], count: int, environment: Mapping[str, str]) -> list[Place] | None:
    """Return the card and the tiles of each torch device.

    Parameters
    ----------
    cards
        Cards of the machine.
    count
        Number of devices that torch finds.
    environment
        Environment variables of this process.

    Returns
    -------
    list of Place or None
        None if the cards do not match the count, for example because of an integrated GPU, a container that
        hides cards, or a mask of tiles. The mapping is then unknown.

    Raises
    ------
    ValueError
        If the device hierarchy is invalid. See :func:`hierarchy`.
    """
    if hierarchy(environment) == "COMPOSITE":
        found = [Place(card, tuple(range(card.tiles))) for card in cards]
    else:
        found = [Place(card, (tile,)) for card in cards for tile in range(card.tiles)]
    mask = environment.get(MASK, "").strip()
    if mask:
        if not re.fullmatch(r"\d+(\s*,\s*\d+)*", mask):
            return None  # a mask of tiles, such as "0.1"
        shown = {int(part) for part in mask.split(",")}
        found = [place for index, place in enumerate(found) if index in shown]
    return found if len(found) == count else None


def half_idle(found: Sequence[Place], selected: Iterable[int]) -> list[str]:
    """Return a warning for each card of which the selected devices use some tiles and leave others idle.

    Parameters
    ----------
    found
        Result of :func:`places`.
    selected
        Indices of the devices used for training.

    Returns
    -------
    list of str
        One message for each partly used card.
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
            f"Pass devices={sorted([*mine, *free])} to use the whole card."
            if free
            else f"{MASK} hides the other tiles."
        )
        sentences.append(
            f"{len(idle)} of the {card.tiles} compute tiles of the Intel GPU at {card.address} are idle, "
            f"because each device is one tile (see {HIERARCHY}). {remedy}"
        )
    return sentences
