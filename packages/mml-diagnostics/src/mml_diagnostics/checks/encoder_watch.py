"""Check the encoder's output for one batch, with a hook that exists for one call only."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mml_diagnostics.batch_view import BatchView, name_sample
from mml_diagnostics.checks import embeddings
from mml_diagnostics.checks.runner import CheckRunner


class EncoderWatch:
    """Run the checks of embeddings at the encoder's next call.

    Parameters
    ----------
    checks
        Runner that records the checks that do not apply.
    run
        Function that runs a check. It is called with the name of the check, the check and its arguments.

    Attributes
    ----------
    embeddings
        Mapping from level (``"system"``, ``"point"``) to the embeddings of the checked call, [rows,
        dimensions].
    """

    def __init__(self, checks: CheckRunner, run: Callable[..., None]) -> None:
        self._checks = checks
        self._run = run
        self._handle: RemovableHandle | None = None
        self._view: BatchView | None = None
        self._ids: list[str] | None = None
        self.embeddings: dict[str, Tensor] = {}

    def arm(
        self, encoder: nn.Module, hook: Callable[..., None], view: BatchView | None, ids: list[str] | None
    ) -> None:
        """Attach ``hook``, which calls :meth:`look`, to ``encoder``.

        ``view`` and ``ids`` describe the batch of the next call.
        """
        self.forget()
        self._view, self._ids = view, ids
        self._handle = encoder.register_forward_hook(hook)

    def look(self, output: object) -> None:
        """Check the encoder's ``output`` at the first call after :meth:`arm`."""
        if self._handle is None:
            return
        self.remove()
        view = self._view
        counts = {"system": embeddings.count_compositions, "point": embeddings.count_elements}
        names = {"system": self._name_structure, "point": self._name_atom}
        found = {
            "system": output if isinstance(output, Tensor) else getattr(output, "system_embedding", None),
            "point": getattr(output, "point_embedding", None),
        }
        for level, x in found.items():
            if not isinstance(x, Tensor) or x.ndim != 2:
                continue
            with torch.no_grad():
                self.embeddings[level] = x = x.detach()
                kinds = counts[level](view, len(x))
                self._run(
                    f"exploding_embeddings/{level}", embeddings.exploding_embeddings, x, level, names[level]
                )
                self._run(f"collapsed_embeddings/{level}", embeddings.collapsed_embeddings, x, level, kinds)
        if not self.embeddings:
            self._checks.skip(
                "embeddings", "the encoder's output has no system_embedding or point_embedding matrix"
            )

    def remove(self) -> None:
        """Remove the hook."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def forget(self) -> None:
        """Remove the hook, and release the batch and the embeddings."""
        self.remove()
        self._view, self._ids, self.embeddings = None, None, {}

    def _name_structure(self, row: int) -> str:
        return name_sample(self._ids, row)

    def _name_atom(self, row: int) -> str:
        if self._view is None or row >= len(self._view.structure_of):
            return f"row {row}"
        structure = int(self._view.structure_of[row])
        first = int((self._view.structure_of < structure).sum())
        return f"atom {row - first} of {self._view.name(structure)}"
