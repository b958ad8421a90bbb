"""Check that energies and forces agree.

Between two similar structures with the same cell, the energy changes by the work of the forces,
``E2 - E1 = -(F1 + F2) / 2 . (r2 - r1)``, up to the third order of the displacement (trapezoidal rule). If a
data set has no similar structures, a potential that is fitted to the forces predicts the energies instead.
"""

import numpy as np

from mml_data.physics.evidence import Evidence
from mml_data.physics.factors import ENERGY_OR_FORCE, name_factor
from mml_data.physics.finding import Finding
from mml_data.physics.pairs import CLOSE
from mml_data.physics.potential import Fit
from mml_data.physics.robust import Line, fit_line

__all__ = ["check_energy_force", "close_pairs"]

_FEW = 5
_TOLERANCE = 0.2
_EXPLAINED = 0.5
_NO_STRAIN = 1e-4
_NO_RELATION = 0.2


def close_pairs(evidence: Evidence) -> np.ndarray:
    """Return the pairs of samples whose forces predict the difference in energy: same atoms and same cell."""
    pairs = evidence.pairs
    used = pairs["same_atoms"] & (pairs["moved"] < CLOSE) & (pairs["strain"] < _NO_STRAIN)
    return np.asarray(pairs[used & np.isfinite(pairs["work"]) & np.isfinite(pairs["energy"])])


def check_energy_force(evidence: Evidence, fits: list[Fit]) -> list[Finding]:
    """Compare differences in energy with the work of the forces."""
    pairs = close_pairs(evidence)
    if len(pairs) >= _FEW:
        line = fit_line(pairs["work"], pairs["energy"])
        frames = tuple(np.unique(np.concatenate([pairs["first"], pairs["second"]])).tolist())
        how = f"{len(pairs):,} pairs of similar samples"
        if line.explained >= _EXPLAINED:
            per_atom = _per_atom(pairs, line)
            return _judge(line, how, frames, 2 * line.error, per_atom)
        if line.explained < _NO_RELATION and len(pairs) >= 2 * _FEW and not _noisy(fits):
            return [_unrelated(line, how, frames)]
    return _by_potential(fits)


def _per_atom(pairs: np.ndarray, line: Line) -> bool:
    """Return whether the energies are per atom: N times the difference explains them with a slope of 1."""
    scaled = fit_line(pairs["work"], pairs["energy"] * pairs["natoms"])
    return abs(scaled.slope - 1) < _TOLERANCE and scaled.explained >= line.explained - 0.05


def _noisy(fits: list[Fit]) -> bool:
    """Return whether the forces themselves are regular and explain the energies on average."""
    return any(fit.explained > 0.5 and _line_of(fit)[1] > 0.8 for fit in fits)


def _judge(line: Line, how: str, frames: tuple[int, ...], error: float, per_atom: bool) -> list[Finding]:
    numbers = {"slope": line.slope, "error": line.error, "explained": line.explained}
    if abs(line.slope - 1) < _TOLERANCE + min(error, 0.3):
        text = (
            f"energies and forces agree: the change of the energy is {line.slope:.3g} times the work of the "
            f"forces in {how} ({line.explained:.0%} explained)"
        )
        return [Finding("energy_force", "ok", text, "", (), numbers)]
    lead = (
        f"the change of the energy is {line.slope:.3g} times the work of the forces in {how} "
        f"({line.explained:.0%} explained); it should be 1"
    )
    if abs(line.slope + 1) < _TOLERANCE + min(error, 0.3):
        message, advice = (
            f"the sign of the forces is wrong: {lead}",
            "the forces are the gradient; import them with --targets force=NAME:-1",
        )
    elif per_atom:
        message, advice = (
            f"the energies are per atom: {lead}",
            "import total energies, for example with --targets energy=NAME:*natoms",
        )
    elif (named := name_factor(line.slope, ENERGY_OR_FORCE)) is not None:
        message = f"energies and forces have different units, such as {named}: {lead}"
        what, _, unit = named.partition(" in ")
        unit = unit.split()[0]
        options = f"energy={unit} force=eV/angstrom" if what == "energies" else f"force={unit}"
        advice = f"import with --units {options}, if that is the unit of the source"
        if line.slope < 0:
            message += "; the sign of the forces is wrong as well"
    else:
        message = f"energies and forces have different units: {lead}"
        advice = "check the units of both, and convert with --units"
    return [Finding("energy_force", "error", message, advice, frames, numbers)]


def _unrelated(line: Line, how: str, frames: tuple[int, ...]) -> Finding:
    return Finding(
        "energy_force",
        "error",
        f"energies and forces are not related: the work of the forces explains {max(line.explained, 0):.0%} "
        f"of the changes of the energy in {how}",
        "check whether forces or energies belong to other samples, or forces to other atoms (shifted by "
        "one frame, shuffled, other order of atoms or axes)",
        frames,
        {"slope": line.slope, "explained": line.explained},
    )


def _line_of(fit: Fit) -> tuple[Line, float]:
    """Return the line between predicted and given energies per atom, and their correlation."""
    size = np.array([len(frame.numbers) for frame in fit.frames])
    given = np.array([frame.energy for frame in fit.frames]) / size
    used = np.isfinite(given)
    if used.sum() < 2 * _FEW:
        return Line(float("nan"), float("inf"), 0.0), 0.0
    elements = np.unique(np.concatenate([frame.numbers for frame in fit.frames]))
    shares = np.array([[(frame.numbers == element).mean() for element in elements] for frame in fit.frames])
    basis, values, _ = np.linalg.svd(shares[used], full_matrices=False)
    basis = basis[:, values > 1e-8 * values[0]]
    given, predicted = given[used], (fit.energies / size)[used]
    given, predicted = (each - basis @ (basis.T @ each) for each in (given, predicted))
    if predicted.std() == 0 or given.std() == 0:
        return Line(float("nan"), float("inf"), 0.0), 0.0
    return fit_line(predicted, given), float(np.corrcoef(predicted, given)[0, 1])


def _by_potential(fits: list[Fit]) -> list[Finding]:
    """Compare the energies with those of fitted potentials, which are right within a factor of about 2.5."""
    for fit in fits:
        line, correlation = _line_of(fit)
        if fit.explained < 0.6 or abs(correlation) < 0.7 or line.slope == 0:
            continue
        line = line._replace(explained=correlation**2)
        frames = tuple(sorted(frame.index for frame in fit.frames))
        how = f"{len(frames):,} samples, by a potential fitted to the forces"
        size = float(np.mean([len(frame.numbers) for frame in fit.frames]))
        per_atom = _is_rough(line.slope * size) and name_factor(line.slope, ENERGY_OR_FORCE) is None
        if _is_rough(abs(line.slope)):
            line = line._replace(slope=float(np.sign(line.slope)))
        return _judge(line, how, frames, 0.0, per_atom)
    return []


def _is_rough(factor: float) -> bool:
    return 0.4 < factor < 2.5
