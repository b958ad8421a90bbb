import functools

import numpy as np
import pytest
import torch
from mml_data.precompute.fingerprint import describe_transforms, fingerprint
from mml_graphs import PeriodicPropertiesTransform


class Shift:
    def __init__(self, by=1.0):
        self.by = by

    def __call__(self, sample):
        return {**sample, "pos": sample["pos"] + self.by}


def add_note(sample):
    return {**sample, "note": "x"}


def test_fingerprint_depends_on_settings():
    transforms = [PeriodicPropertiesTransform(6.0, adaptive_cutoff=True), add_note]
    assert fingerprint(transforms) == fingerprint(
        [PeriodicPropertiesTransform(6.0, adaptive_cutoff=True), add_note]
    )
    assert fingerprint(transforms) != fingerprint(transforms[:1])
    assert fingerprint(transforms) != fingerprint(
        [PeriodicPropertiesTransform(6.5, adaptive_cutoff=True), add_note]
    )
    shift = Shift({"a": [np.float64(1), torch.ones(2), {3}], "b": torch.float32, "f": add_note})
    assert describe_transforms([shift])[0]["options"]["by"]["b"] == "torch.float32"
    assert fingerprint([functools.partial(add_note)]) != fingerprint([add_note])
    assert fingerprint([Shift(functools.partial(add_note, sample=1))]) != fingerprint(
        [Shift(functools.partial(add_note, sample=2))]
    )
    for bad in (lambda sample: sample, Shift(lambda: 1), Shift(iter([]))):
        with pytest.raises(ValueError, match=r"(does not identify a transform|cannot be compared)"):
            fingerprint([bad])
