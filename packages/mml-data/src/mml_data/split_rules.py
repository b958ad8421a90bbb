"""Draw splits: at random, so that groups of samples stay together, or as the folds of a cross-validation."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mml_data.store.splits import random_split

__all__ = ["SplitRules", "grouped_split"]

logger = logging.getLogger(__name__)

_ATTEMPTS = 32
_CLOSE = 0.01
_FAR = 0.05


@dataclass(frozen=True)
class SplitRules:
    """Shares of the splits, or the folds of a cross-validation, and the seed from which they are drawn.

    Attributes
    ----------
    shares
        Name of a split to its share of the samples. The shares sum to 1. A split with the share 0 does not
        exist. Ignored if `folds` is given.
    seed
        Seed of the split. The same rules always draw the same splits from the same samples.
    folds
        Number of folds of a cross-validation, at least 3, or None.
    fold
        Number of the fold that becomes the test split, from 0. The next fold becomes the validation split,
        and the others become the training split. With `folds` runs, each sample is tested once.

    Raises
    ------
    ValueError
        If the shares or the folds are invalid.
    """

    shares: Mapping[str, float]
    seed: int = 0
    folds: int | None = None
    fold: int = 0

    def __post_init__(self) -> None:
        shares = list(self.shares.values())
        if not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(
                f"the shares of the splits must be from 0 to 1 and sum to 1, got {dict(self.shares)}"
            )
        if self.folds is None and self.fold:
            raise ValueError(f"fold {self.fold} requires the number of folds; pass folds (--folds 5)")
        if self.folds is not None and self.folds < 3:
            raise ValueError(
                "folds must be at least 3, one fold each for the training, validation and test splits, got "
                f"{self.folds}"
            )
        if self.folds is not None and not 0 <= self.fold < self.folds:
            raise ValueError(f"fold must be from 0 to {self.folds - 1}, got {self.fold}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the splits, in order."""
        if self.folds is not None:
            return ("train", "val", "test")
        return tuple(name for name, share in self.shares.items() if share)

    def describe(self) -> dict[str, object]:
        """Return the rules for the manifest."""
        if self.folds is not None:
            return {"folds": self.folds, "fold": self.fold, "seed": self.seed}
        return {"shares": dict(self.shares), "seed": self.seed}

    def draw(self, count: int, groups: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Draw the splits.

        Parameters
        ----------
        count
            Number of samples.
        groups
            Name of the group of each sample. Samples of a group stay in the same split. None draws single
            samples.

        Returns
        -------
        dict
            Name of a split to its sorted indices, int64. The splits are disjoint and contain all samples.

        Raises
        ------
        ValueError
            If a split would be empty.
        """
        if len(self.names) == 1:
            return {self.names[0]: np.arange(count)}
        if groups is not None and len(set(groups)) == count:
            groups = None
        if self.folds is None:
            shares = {name: self.shares[name] for name in self.names}
            if groups is not None:
                return grouped_split(groups, shares, self.seed)
            rest = "train" if "train" in shares else self.names[0]
            return random_split(
                np.arange(count),
                {name: share for name, share in shares.items() if name != rest},
                self.seed,
                rest=rest,
            )
        dealt = {str(number): 1 / self.folds for number in range(self.folds)}
        if groups is not None:
            parts = list(grouped_split(groups, dealt, self.seed).values())
        else:
            if count < self.folds:
                raise ValueError(f"{count} samples are too few for {self.folds} folds; use fewer folds")
            order = np.random.Generator(np.random.PCG64(self.seed)).permutation(count)
            parts = [np.sort(part) for part in np.array_split(order, self.folds)]
        val = (self.fold + 1) % self.folds
        rest_parts = [part for number, part in enumerate(parts) if number not in (self.fold, val)]
        return {
            "train": np.sort(np.concatenate(rest_parts)),
            "val": parts[val],
            "test": parts[self.fold],
        }


def grouped_split(groups: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Split samples so that all samples of a group are in the same split.

    Groups are assigned in random order. Each group goes to the split that lacks the most samples. If the
    sizes of the splits are not close to the shares, further orders are tried, and the best one is used.

    Parameters
    ----------
    groups
        Name of the group of each sample.
    shares
        Name of a split to its share of the samples, above 0.
    seed
        Seed of the order of groups.

    Returns
    -------
    dict
        Name of a split to its sorted indices, int64. No split is empty.

    Raises
    ------
    ValueError
        If there are fewer groups than splits.
    """
    names = sorted(set(groups))
    number_of = {name: number for number, name in enumerate(names)}
    member = np.fromiter((number_of[name] for name in groups), np.int64, len(groups))
    if len(names) < len(shares):
        raise ValueError(
            f"{len(shares)} splits require at least {len(shares)} groups, but the samples have only "
            f"{len(names)}: {', '.join(map(repr, names))}"
        )
    sizes = np.bincount(member)
    wanted = np.array(list(shares.values())) * len(groups)
    generator = np.random.Generator(np.random.PCG64(seed))
    best, distance = _assign(sizes, generator.permutation(len(names)), wanted)
    for attempt in range(_ATTEMPTS):
        if distance <= _CLOSE * len(groups):
            break
        order = generator.permutation(len(names))
        if attempt == _ATTEMPTS - 1:
            order = order[np.argsort(-sizes[order], kind="stable")]  # the largest group first
        assigned, other = _assign(sizes, order, wanted)
        if other < distance:
            best, distance = assigned, other
    splits = {name: np.flatnonzero(best[member] == number) for number, name in enumerate(shares)}
    if distance > _FAR * len(groups):
        logger.warning(
            "the splits have %s of the samples instead of %s, because samples of one group stay together",
            _percent({name: len(part) / len(groups) for name, part in splits.items()}),
            _percent(shares),
        )
    return splits


def _assign(sizes: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, float]:
    """Assign groups to splits in an order. Return the split of each group, and the largest deviation."""
    lacking: list[float] = wanted.tolist()
    empty = set(range(len(lacking)))
    chosen = np.zeros(len(sizes), dtype=np.int64)
    for position, group in enumerate(order.tolist()):
        # If only as many groups are left as splits are empty, each of them goes to an empty split.
        candidates = empty if len(order) - position <= len(empty) else range(len(lacking))
        split = max(candidates, key=lacking.__getitem__)
        chosen[group] = split
        lacking[split] -= float(sizes[group])
        empty.discard(split)
    return chosen, max(map(abs, lacking))


def _percent(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{100 * share:.0f} % ({name})" for name, share in shares.items())
