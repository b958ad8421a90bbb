"""Check energies against the sum of energies of the elements, which the compositions determine.

The energy per atom of structures with the same elements varies by some eV at most. Larger differences come
from single wrong values, from totals mixed with energies per atom, or from two methods of calculation.
"""

import numpy as np

from mml_data.physics.evidence import Evidence
from mml_data.physics.finding import Finding
from mml_data.physics.robust import gap, scale

__all__ = ["check_energies", "reference_residuals"]

_OUTLIER = 10  # robust standard deviations
_SMALLEST = 0.03  # eV per atom
_SMALLEST_OF_MANY = 0.5  # eV per atom, for several compositions
_LEVELS = 2  # width of the gap between two levels, in ranges of the energies of a level
_FEW = 10
_MOST_OF_FIT = 50_000


def reference_residuals(evidence: Evidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the energies per atom by energies of the elements, so that outliers have little influence.

    The fit minimizes the sum of absolute residuals by iterated weights (`mml_samples.ReferenceFit` minimizes
    squares, which a single wrong total dominates).

    Returns
    -------
    tuple
        Rows with an energy and more than two atoms, [n]; energies per atom of the fit, [n]; residuals, [n].
    """
    used = np.isfinite(evidence.rows["energy"]) & (evidence.rows["natoms"] > 2)
    rows = evidence.rows[used]
    if not len(rows):
        return rows, np.zeros(0), np.zeros(0)
    fit = _some(rows)
    shares, values = evidence.shares(fit["composition"]), fit["energy"] / fit["natoms"]
    weights = np.ones(len(fit))
    for _ in range(20):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(shares * root[:, None], values * root, rcond=1e-8)[0]
        left = np.abs(values - shares @ solution)
        weights = 1 / np.maximum(left, max(1e-4, 1e-3 * float(np.median(left))))
        weights /= weights.max()
    fitted = evidence.per_atom(solution)[rows["composition"]]
    return rows, fitted, rows["energy"] / rows["natoms"] - fitted


def _some(rows: np.ndarray) -> np.ndarray:
    """Return at most 50,000 rows, evenly spaced, for a fit."""
    return rows[:: -(-len(rows) // _MOST_OF_FIT)]


def check_energies(evidence: Evidence) -> list[Finding]:
    """Find outliers, totals mixed with energies per atom, and two levels of theory."""
    rows, fitted, residuals = reference_residuals(evidence)
    if len(rows) < _FEW:
        return []
    whole = _all_per_atom(evidence)
    if whole:
        return whole
    spread = max(scale(residuals), 1e-4)
    mixed = _mixed(rows, fitted, residuals, spread)
    if mixed:
        return mixed
    return _levels(evidence, rows, residuals) or _outliers_of_kinds(rows, residuals)


def _all_per_atom(evidence: Evidence) -> list[Finding]:
    """Compare the fits of totals and of energies per atom for samples of different sizes."""
    rows = _some(evidence.rows[np.isfinite(evidence.rows["energy"])])
    shares = evidence.shares(rows["composition"])
    sizes, energies = rows["natoms"], rows["energy"]
    if sizes.std() < 0.2 * sizes.mean() or not energies.any():
        return []
    left = []
    for values in (energies / sizes, energies):
        solution = np.linalg.lstsq(shares, values, rcond=1e-8)[0]
        left.append(scale(values - shares @ solution) / float(np.median(np.abs(values))))
    if left[1] > 0.3 * left[0]:
        return []
    return [
        Finding(
            "energies",
            "error",
            f"the energies do not grow with the number of atoms ({sizes.min()} to {sizes.max()}), so they "
            "are probably per atom",
            "import total energies, for example with --targets energy=NAME:*natoms",
            (),
            {"residual_as_total": left[0], "residual_per_atom": left[1]},
        )
    ]


def _mixed(rows: np.ndarray, fitted: np.ndarray, residuals: np.ndarray, spread: float) -> list[Finding]:
    sizes = rows["natoms"]
    far = (np.abs(residuals) > 6 * spread) & (np.abs(fitted) > 20 * spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (rows["energy"] / sizes) / fitted
    smaller = far & (np.abs(ratio * sizes - 1) < 0.08)
    larger = far & (np.abs(ratio / sizes - 1) < 0.08)
    wrong = smaller | larger
    if not wrong.any():
        return []
    per_atom = smaller if smaller.any() else ~larger
    return [
        Finding(
            "energies",
            "error",
            f"{int(per_atom.sum()):,} of {len(rows):,} energies are per atom, and the others are totals",
            "multiply the former by the number of atoms in the source, or import the two sources separately",
            tuple(rows["index"][per_atom].tolist()),
            {"per_atom": int(per_atom.sum()), "total": len(rows) - int(per_atom.sum())},
        )
    ]


def _levels(evidence: Evidence, rows: np.ndarray, residuals: np.ndarray) -> list[Finding]:
    threshold, width, spread = gap(residuals)
    if not (width > _SMALLEST and width > _LEVELS * spread):
        return []
    high = residuals > threshold
    # Different densities or coordinations explain different energies.
    ratios = [float(np.nanmedian(rows["ratio"][side])) for side in (high, ~high)]
    if abs(ratios[0] / ratios[1] - 1) > 0.15:
        return []
    few = high if high.sum() <= len(rows) / 2 else ~high
    shift = float(np.median(residuals[high]) - np.median(residuals[~high]))
    position = {int(index): place for place, index in enumerate(evidence.rows["index"])}
    explained = ""
    for key, names in evidence.groups.items():
        sides = [{names[position[int(index)]] for index in rows["index"][side]} for side in (few, ~few)]
        if not sides[0] & sides[1]:
            explained = f"; extra.{key} is {', '.join(sorted(sides[0])[:3])} in these"
            break
    return [
        Finding(
            "energies",
            "error",
            f"the energies have two levels, {shift:.3g} eV per atom apart with nothing in between "
            f"({int(few.sum()):,} of {len(rows):,} samples are in the smaller part{explained}), as from two "
            "methods of calculation",
            "train on one level of theory only, or shift one by the reference energies of its elements",
            tuple(rows["index"][few].tolist()),
            {"shift_per_atom": shift, "gap": width, "spread": spread},
        )
    ]


def _outliers_of_kinds(rows: np.ndarray, residuals: np.ndarray) -> list[Finding]:
    """Find outliers among the periodic samples and among the others, whose bonds differ."""
    found = []
    for kind in (rows["periodic"], ~rows["periodic"]):
        if kind.sum() >= _FEW:
            here = residuals[kind]
            found += _outliers(rows[kind], here, max(scale(here), 1e-4))
    return found


def _outliers(rows: np.ndarray, residuals: np.ndarray, spread: float) -> list[Finding]:
    away = np.abs(residuals - np.median(residuals))
    # Energies of the elements do not describe bonds, which differ between compositions.
    smallest = _SMALLEST if len(np.unique(rows["composition"])) == 1 else _SMALLEST_OF_MANY
    wrong = away > max(_OUTLIER * spread, smallest)
    # Large forces or close atoms explain a high energy.
    forces = rows["force_rms"]
    usual = np.nanmedian(forces) if np.isfinite(forces).any() else np.nan
    wrong &= ~((forces > 3 * usual) | (rows["closest"] < 0.7))
    if not wrong.any():
        return []
    worst = int(np.argmax(np.where(wrong, away, 0)))
    return [
        Finding(
            "energies",
            "warning",
            f"the energy per atom of {int(wrong.sum()):,} of {len(rows):,} samples is more than {_OUTLIER} "
            f"robust standard deviations ({spread:.3g} eV) from the fit by elements, at most "
            f"{residuals[worst]:.3g} eV",
            "check whether these calculations converged, and whether the energies belong to these structures",
            tuple(rows["index"][wrong].tolist()),
            {"spread": spread, "worst": int(rows["index"][worst])},
        )
    ]
