"""Check the unit, the sign and the order of the components of stresses.

Two tests:

- Between two similar structures, the energy changes by the work of the forces and of the stress,
  ``E2 - E1 = -(F1 + F2) / 2 . dx + V (s1 + s2) / 2 : e`` with the strain e.
- A potential that is fitted to the forces predicts the shear components of the stress. (Forces do
  not determine its normal components well.)
"""

from itertools import permutations

import numpy as np

from mml_data.physics.evidence import Evidence
from mml_data.physics.factors import STRESS, name_factor
from mml_data.physics.finding import Finding
from mml_data.physics.pairs import CLOSE
from mml_data.physics.potential import Fit
from mml_data.physics.robust import Line, fit_line

__all__ = ["check_stress", "check_stress_order"]

_FEW = 5
_STRAINED = 1e-3
_SIMILAR = 0.05  # largest strain of a pair is 5 percent
_EXTREME = 2.0  # eV/angstrom^3, 320 GPa
_TOLERANCE = 0.25
_UNDECIDED = 3.0
_SHEAR = {"yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}


def check_stress(evidence: Evidence, fits: list[Fit]) -> list[Finding]:
    """Compare stresses with the energies of strained structures, or with a fitted potential."""
    found: list[Finding] = []
    line, indices, how = _by_strain(evidence)
    if line is None:
        line, indices, how = _by_potential(fits)
    if line is not None and not abs(line.slope - 1) < _TOLERANCE + min(2 * line.error, 0.25):
        found += _findings(line, indices, how, _scales_with_volume(evidence))
    elif line is not None:
        text = (
            f"stresses are {line.slope:.3g} times those that follow from {how} "
            f"({line.explained:.0%} explained)"
        )
        numbers = {"factor": line.slope, "error": line.error, "explained": line.explained}
        return [Finding("stress", "ok", text, "", (), numbers), *_magnitude(evidence)]
    if not found:
        found += _magnitude(evidence)
    return found


def _by_strain(evidence: Evidence) -> tuple[Line | None, tuple[int, ...], str]:
    """Return the line of the stress label against the true stress, from differences in energy."""
    pairs = evidence.pairs
    used = pairs["same_atoms"] & (pairs["moved"] < CLOSE) & (pairs["strain"] > _STRAINED)
    used &= np.isfinite(pairs["cell_work"]) & np.isfinite(pairs["work"]) & np.isfinite(pairs["energy"])
    pairs = pairs[used & (pairs["strain"] < _SIMILAR)]
    if len(pairs) < 2 * _FEW:
        return None, (), ""
    line = fit_line(pairs["cell_work"], pairs["energy"] - pairs["work"])
    if line.explained < 0.5 or line.slope == 0:
        return None, (), ""
    # The label is 1 / slope times the stress.
    inverse = Line(1 / line.slope, line.error / line.slope**2, line.explained)
    indices = np.unique(np.concatenate([pairs["first"], pairs["second"]]))
    return inverse, tuple(indices.tolist()), f"the energies of {len(pairs):,} pairs of strained structures"


def _shear(fit: Fit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return predicted and given shear components, [n, 3] (yz, xz, xy), and the number of each sample."""
    used = [number for number, frame in enumerate(fit.frames) if frame.stress is not None and frame.pbc.all()]
    given = np.array(
        [[np.asarray(fit.frames[n].stress)[at] for at in _SHEAR.values()] for n in used]
    ).reshape(-1, 3)
    predicted = np.array([[fit.stresses[n][at] for at in _SHEAR.values()] for n in used]).reshape(-1, 3)
    return predicted, given, np.array(used, dtype=int)


def _by_potential(fits: list[Fit]) -> tuple[Line | None, tuple[int, ...], str]:
    parts = [(fit, *_shear(fit)) for fit in fits if fit.explained > 0.7]
    predicted = np.concatenate([part[1] for part in parts] or [np.zeros((0, 3))])
    given = np.concatenate([part[2] for part in parts] or [np.zeros((0, 3))])
    if len(given) < 2 * _FEW or not given.any():
        return None, (), ""
    # Orders of the shear components are judged in `check_stress_order`; the sum of all does not depend on it.
    best = max(permutations(range(3)), key=lambda order: abs(_correlation(predicted, given[:, order])))
    line = fit_line(predicted.ravel(), given[:, best].ravel())
    if abs(_correlation(predicted, given[:, best])) < 0.8 or line.explained < 0.5:
        return None, (), ""
    indices = sorted(part[0].frames[number].index for part in parts for number in part[3])
    return line, tuple(indices), f"a potential fitted to the forces of {len(indices):,} samples"


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.ravel(), other.ravel()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size > 0 else 0.0


def _scales_with_volume(evidence: Evidence) -> float:
    """Return the median volume of the samples with a stress, angstrom^3."""
    rows = evidence.rows[np.isfinite(evidence.rows["stress_max"])]
    return float(np.nanmedian(rows["volume"])) if len(rows) else float("nan")


def _findings(line: Line, indices: tuple[int, ...], how: str, volume: float) -> list[Finding]:
    factor = line.slope
    if 1 / _UNDECIDED < factor < _UNDECIDED:  # neither a unit nor the sign explains such a factor
        return []
    lead = f"the labels are {factor:.4g} times the stress that follows from {how}"
    sign = "" if factor > 0 else ", and the sign is opposite to that of ASE (positive under tension)"
    advice = "import with --units stress=UNIT"
    named = name_factor(factor, STRESS, 0.3)
    if 1 / _UNDECIDED < -factor < _UNDECIDED:
        message, sign = f"the sign of the stress is wrong: {lead}", ""
        advice = "import with --targets stress=NAME:-1"
    elif named is not None:
        message = f"the unit is wrong, probably {named}: {lead}"
        unit = named.removeprefix("stress in ")
        advice = f"import with --units stress={unit}" + (
            " and --targets stress=NAME:-1" if factor < 0 else ""
        )
    elif np.isfinite(volume) and 0.3 < abs(factor) / volume < 3:
        message = (
            f"the labels are probably virials (stress times volume): {lead}; the median volume is "
            f"{volume:.3g}"
        )
        advice = f"import with --targets stress=NAME:{'-1' if factor < 0 else '1'}/volume"
    else:
        message = f"the unit is wrong: {lead}"
    numbers = {"factor": factor, "error": line.error, "explained": line.explained}
    return [Finding("stress", "error", message + sign, advice, indices, numbers)]


def check_stress_order(fits: list[Fit]) -> list[Finding]:
    """Compare the order of the shear components with that of a potential fitted to the forces.

    Groups of samples (``extra.config_type``, ``extra.group``) can have different orders.
    """
    wrong: dict[str, list[int]] = {}
    groups: dict[str, list[str]] = {}
    scores: dict[str, float] = {}
    right: list[str] = []
    best = 0.0
    tested = 0
    for fit in fits:
        if fit.explained < 0.6:
            continue
        predicted, given, used = _shear(fit)
        labels = [fit.frames[number].groups for number in used]
        names = np.array([each.get("config_type") or each.get("group") or "" for each in labels])
        for name in np.unique(names).tolist():
            chosen = names == name
            order, score = _order(predicted[chosen], given[chosen])
            if order is None:
                right += [f"{name} ({score:.2f})"] * bool(name and score > 0.8)
                tested += int(chosen.sum()) * (score > 0.8)
                best = max(best, score)
                continue
            text = ", ".join(
                f"{here} holds {there}" for here, there in zip(_SHEAR, order, strict=True) if here != there
            )
            wrong.setdefault(text, []).extend(fit.frames[number].index for number in used[chosen])
            groups.setdefault(text, []).extend([f"{name} ({score:.2f})"] * bool(name))
            scores[text] = min(score, scores.get(text, 1.0))
    found = []
    if not wrong and best > 0.8:
        details = f" ({', '.join(right)})" if right else ""
        message = (
            f"the order of the components is right: the shear components of {tested:,} samples agree with "
            f"those of a potential fitted to the forces, correlation up to {best:.2f}{details}"
        )
        found.append(Finding("stress_order", "ok", message, "", (), {"correlation": best}))
    for text, frames in wrong.items():
        where = f" in the groups {', '.join(groups[text])}" if groups[text] else ""
        other = f"; it is right in {', '.join(right)}" if right else ""
        found.append(
            Finding(
                "stress_order",
                "error",
                f"the components of the stress are in the wrong order{where}: {text}{other}. "
                f"{len(frames):,} samples were compared with a potential fitted to the forces (correlation "
                f"in the right order at least {scores[text]:.2f})",
                "reorder the components in the source: here it is xx yy zz yz xz xy, VASP has xx yy zz xy "
                "yz xz, and LAMMPS xx yy zz xy xz yz",
                tuple(sorted(frames)),
                {"correlation": scores[text], "groups": groups[text]},
            )
        )
    return found


def _order(predicted: np.ndarray, given: np.ndarray) -> tuple[tuple[str, ...] | None, float]:
    """Return the component that each of yz, xz and xy holds if the order is wrong, and its correlation."""
    if len(given) < 2 * _FEW or not given.any():
        return None, 0.0
    # Signs and units are judged elsewhere, but the components must be as large as each other for a fair
    # comparison.
    scores = {order: abs(_correlation(predicted[:, order], given)) for order in permutations(range(3))}
    best = max(scores, key=lambda order: scores[order])
    right = scores[0, 1, 2]
    if best == (0, 1, 2) or scores[best] < 0.7 or scores[best] - right < 0.2:
        return None, right
    return tuple(list(_SHEAR)[at] for at in best), scores[best]


def _magnitude(evidence: Evidence) -> list[Finding]:
    rows = evidence.rows[np.isfinite(evidence.rows["stress_max"])]
    if not len(rows):
        return []
    typical = float(np.median(rows["stress_max"]))
    extreme = (rows["stress_max"] > _EXTREME) & (rows["closest"] > 0.75)
    if not extreme.any():
        return []
    return [
        Finding(
            "stress",
            "error" if typical > _EXTREME else "warning",
            f"the stress is above {_EXTREME:g} eV/angstrom^3 (320 GPa) in {int(extreme.sum()):,} of "
            f"{len(rows):,} samples; the median of the largest component is {typical:.3g}",
            "check the unit: 1 eV/angstrom^3 is 160.2 GPa or 1602 kbar; a virial has to be divided by the "
            "volume",
            tuple(rows["index"][extreme].tolist()),
            {"median": typical},
        )
    ]
