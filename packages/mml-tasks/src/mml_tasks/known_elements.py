"""Remember the elements of the training data, and check that structures to predict have no others."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Literal, TypeAlias

import torch
from mml_samples import SYMBOLS, atomic_number, warn_once
from torch import Tensor

logger = logging.getLogger(__name__)

UnknownElements: TypeAlias = Literal["refuse", "warn"]
"""Action for a structure with an element that the training data did not contain."""

CHECKPOINT_KEY = "training_elements"
"""Key of a checkpoint: symbols of the elements in the training data, or None if they are unknown."""


class KnownElements:
    """Elements of the data on which the weights of a task were trained.

    They are unknown until a fit with a data module that provides ``training_elements()``, or until a
    checkpoint of such a fit is loaded. As long as they are unknown, all elements are accepted.
    """

    def __init__(self) -> None:
        self._known: Tensor | None = None

    def add(self, symbols: Iterable[str] | None) -> None:
        """Add elements to those that are known. ``None`` changes nothing."""
        if symbols is None:
            return
        if self._known is None:
            self._known = torch.zeros(len(SYMBOLS), dtype=torch.bool)
        self._known[[atomic_number(symbol) for symbol in symbols]] = True

    def symbols(self) -> list[str] | None:
        """Return the known elements by atomic number, or None if they are unknown."""
        return None if self._known is None else [SYMBOLS[n] for n in self._known.nonzero().view(-1).tolist()]

    def check(self, atomic_numbers: Tensor, where: str, action: UnknownElements) -> None:
        """Raise an error for elements that the training data did not contain, or log a warning.

        Parameters
        ----------
        atomic_numbers
            Atomic numbers [N]. Reading them from a device waits for it.
        where
            Description of the atoms, for the message.
        action
            ``"refuse"`` or ``"warn"``. A warning is logged once for the same elements.

        Raises
        ------
        ValueError
            If there are such elements and ``action`` is ``"refuse"``.
        """
        if self._known is None:
            return
        seen = torch.unique(atomic_numbers.cpu())
        inside = (seen > 0) & (seen < len(SYMBOLS))
        unknown = seen[~(inside & self._known[torch.where(inside, seen, 0)])].tolist()
        if not unknown:
            return
        names = ", ".join(SYMBOLS[n] if 0 < n < len(SYMBOLS) else f"atomic number {n}" for n in unknown)
        found = f"{where} contains {names}, which the training data ({_short(self.symbols() or [])}) did not"
        if action == "warn":
            warn_once(logger, f"unknown elements {names}", f"{found}. Its predictions are not reliable")
            return
        raise ValueError(
            f"{found}. Leave these structures out, train with these elements, or accept unreliable "
            'predictions with unknown_elements="warn" (on the command line, --unknown-elements warn)'
        )


def _short(symbols: list[str]) -> str:
    more = f" and {len(symbols) - 8} more elements" if len(symbols) > 8 else ""
    return ", ".join(symbols[:8]) + more
