"""Warn scripts that import the other Lightning package."""

from __future__ import annotations

import sys
import warnings


def hint_at_other_lightning(task: object) -> None:
    """Warn if the script uses ``lightning.pytorch``, whose trainer does not accept this package's tasks.

    ``lightning.pytorch`` and ``pytorch_lightning`` have separate classes. A task is a
    ``pytorch_lightning.LightningModule``, which the trainer of the other package does not recognize.
    """
    names = vars(sys.modules["__main__"]) if "__main__" in sys.modules else {}
    other = [name for name, value in names.items() if _is_of_other(value)]
    if other and not any(_package(value) == "pytorch_lightning" for value in names.values()):
        warnings.warn(
            f"this script uses lightning.pytorch ({', '.join(sorted(other))}), whose Trainer does not accept "
            f"{type(task).__name__}, a module of pytorch_lightning. Import pytorch_lightning instead",
            UserWarning,
            stacklevel=6,
        )


def _is_of_other(value: object) -> bool:
    return _package(value) in ("lightning", "lightning.pytorch")


def _package(value: object) -> str:
    """Return the Lightning package of a module, class or object: "lightning", "pytorch_lightning" or ""."""
    name = getattr(value, "__name__", "") if isinstance(value, type(sys)) else ""
    if not name:
        kind = value if isinstance(value, type) else type(value)
        name = getattr(kind, "__module__", "") or ""
    if name == "lightning" or name.startswith("lightning.pytorch"):
        return "lightning"
    return "pytorch_lightning" if name.startswith("pytorch_lightning") else ""
