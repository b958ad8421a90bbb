"""Rules for the scales of a task's targets, such as one scale that an energy and its forces share."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from mml_tasks.normalization.stored_statistics import (
    Scale,
    flatten,
    number,
    provenance,
    rms_from_statistics,
    scale_from_statistics,
)
from mml_tasks.protocols import Statistics


class ScaleRules:
    """Rules of a task whose targets are scaled independently of each other.

    Parameters
    ----------
    keys
        Outputs that have a normalizer.
    extensive_keys
        Outputs that grow with the number of atoms. They are shifted per atom.
    """

    def __init__(self, keys: Sequence[str] = (), extensive_keys: Collection[str] = ()) -> None:
        self.keys = list(keys)
        self.extensive_keys = extensive_keys

    def complete(self, scales: Mapping[str, Scale]) -> dict[str, Scale]:
        """Return the scales of all normalizers, and raise an error if some of them contradict each other."""
        return dict(scales)

    def of_data(
        self, statistics: Mapping[str, Statistics], references: Collection[str] = ()
    ) -> dict[str, Scale]:
        """Return the scales that follow from the statistics of the training split.

        Parameters
        ----------
        statistics
            Statistics by target.
        references
            Targets that are shifted by the reference energies of the data.
        """
        return {
            key: self.scale_of(key, statistics[key], key in references)
            for key in self.keys
            if key in statistics
        }

    def scale_of(self, key: str, statistics: Statistics, references: bool = False) -> Scale:
        """Return the scale of one target: per atom if it is extensive, or with reference energies."""
        return scale_from_statistics(key, statistics, key in self.extensive_keys, references)


class VectorRules(ScaleRules):
    """Rules of a task that predicts vectors of atoms: their mean is zero, and all directions have one scale.

    Parameters
    ----------
    keys, extensive_keys
        See `ScaleRules`.
    vector_keys
        Outputs that are vectors.
    """

    def __init__(
        self, keys: Sequence[str], extensive_keys: Collection[str], vector_keys: Collection[str]
    ) -> None:
        super().__init__(keys, extensive_keys)
        self.vector_keys = vector_keys

    def complete(self, scales: Mapping[str, Scale]) -> dict[str, Scale]:
        """Raise an error for a nonzero mean of vectors, and for scales that differ between directions."""
        for key in (key for key in scales if key in self.vector_keys):
            mean, std = scales[key].mean, scales[key].std
            if mean is not None and any(flatten(mean)):
                raise ValueError(
                    f"{key}_mean must be zero, got {mean}, because a mean vector would define a direction in "
                    f"space. Leave {key}_mean out"
                )
            if std is not None and len(set(flatten(std))) > 1:
                raise ValueError(
                    f"{key}_std must be the same in every direction, got {std}, because otherwise "
                    f"predictions would not rotate with the structure. Pass one number"
                )
        return dict(scales)

    def of_data(
        self, statistics: Mapping[str, Statistics], references: Collection[str] = ()
    ) -> dict[str, Scale]:
        """Scale vectors by their root mean square over all components."""
        vectors = {
            key: Scale(std=rms_from_statistics(statistics[key]), **provenance(statistics[key]))
            for key in self.keys
            if key in self.vector_keys and key in statistics
        }
        others = {key: value for key, value in statistics.items() if key not in vectors}
        return super().of_data(others, references) | vectors


class SpectrumRules(ScaleRules):
    """Rules of a task that predicts spectra: each point has its own mean and its own scale.

    The scale of a point is its standard deviation, but at least a tenth of the root mean square of the
    standard deviations of all points. Points that hardly vary, such as those in a gap that all structures
    have, would otherwise be scaled by tiny numbers.
    """

    def scale_of(self, key: str, statistics: Statistics, references: bool = False) -> Scale:
        """Return the scale of one spectrum, or one mean and one scale if those of its points are unknown."""
        if "bin_mean" not in statistics or "bin_std" not in statistics:
            return super().scale_of(key, statistics, references)
        mean, std = (
            number(f"{key} {name}", statistics[name], arrays=True) for name in ("bin_mean", "bin_std")
        )
        spread = flatten(std)
        floor = 0.1 * math.sqrt(sum(value**2 for value in spread) / len(spread)) or 1.0
        return Scale(mean, [max(value, floor) for value in spread], **provenance(statistics))


class EnergyRules(ScaleRules):
    """Rules of a task whose forces, and stress, are derivatives of its energy.

    Energy and forces share one scale. Forces and stress have no shift.

    Parameters
    ----------
    stress
        Whether the task predicts the stress, which has its own scale.
    """

    def __init__(self, stress: bool) -> None:
        super().__init__(["energy", "force", *["stress"] * stress], ["energy"])

    def complete(self, scales: Mapping[str, Scale]) -> dict[str, Scale]:
        """Give energy and forces the same scale, and raise an error if the statistics contradict this."""
        for key in ("force", "stress"):
            mean = scales.get(key, Scale()).mean
            if mean is not None and any(flatten(mean)):
                raise ValueError(
                    f"{key}_mean must be zero, got {mean}, because the {key} is a derivative of the energy, "
                    f"which has no shift. Leave {key}_mean out"
                )
        energy, force = scales.get("energy", Scale()), scales.get("force", Scale())
        if isinstance(force.std, list):
            raise ValueError(
                f"force_std must be one number, got {force.std}, because forces are derivatives of the "
                "energy and share its scale in every direction"
            )
        if energy.std is not None and force.std is not None and energy.std != force.std:
            raise ValueError(
                f"energy_std={energy.std} and force_std={force.std} differ, but forces are derivatives of "
                "the energy and share its scale. Pass only one of them"
            )
        std = force.std if energy.std is None else energy.std
        shared = {"energy": replace(energy, std=std), "force": replace(force, mean=None, std=std)}
        return shared | {key: scale for key, scale in scales.items() if key == "stress"}

    def of_data(
        self, statistics: Mapping[str, Statistics], references: Collection[str] = ()
    ) -> dict[str, Scale]:
        """Use the mean energy per atom as the shift and the root mean square of the forces as the scale."""
        energy = Scale()
        if "energy" in statistics:
            energy = self.scale_of("energy", statistics["energy"], "energy" in references)
        force_rms = rms_from_statistics(statistics.get("force", {}))
        scales = {"energy": replace(energy, std=force_rms or energy.std)}
        if force_rms:
            scales["force"] = Scale(std=force_rms, **provenance(statistics["force"]))
        if "stress" in self.keys:
            stress_rms = rms_from_statistics(statistics.get("stress", {}))
            known = {} if not stress_rms else {"std": stress_rms, **provenance(statistics["stress"])}
            scales["stress"] = Scale(**known)
        return self.complete(scales)
