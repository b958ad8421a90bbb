from __future__ import annotations

from types import SimpleNamespace

from mml_models.adapters.irreps import scalar_columns


class Irreps(list):
    """The interface of e3nn's `Irreps` that the function reads, from tuples (count, degree, parity)."""

    def __init__(self, *parts):
        super().__init__((count, SimpleNamespace(l=degree, p=parity)) for count, degree, parity in parts)
        self.widths = [count * (2 * degree + 1) for count, degree, parity in parts]
        self.dim = sum(self.widths)

    def slices(self):
        return [slice(sum(self.widths[:k]), sum(self.widths[: k + 1])) for k in range(len(self))]


def test_even_scalars_of_all_layers_are_selected():
    first = Irreps((2, 0, 1), (3, 0, -1), (1, 1, -1), (1, 0, 1))  # 2x0e + 3x0o + 1x1o + 1x0e
    last = Irreps((1, 1, 1), (2, 0, 1))  # 1x1e + 2x0e
    assert scalar_columns([first, last]) == [0, 1, 8, 12, 13]


def test_no_layers_have_no_columns():
    assert scalar_columns([]) == []
