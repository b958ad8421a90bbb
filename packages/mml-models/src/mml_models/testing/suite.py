"""All checks in one call."""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import deepcopy

from torch import nn

from mml_models.testing import compiled, derivatives, execution, locality, state, symmetry
from mml_models.testing.crystals import Crystal, neighbours, random_crystal
from mml_models.testing.energy import Encoder

Check = Callable[[Encoder, Crystal, float, int], None]

CHECKS: dict[str, Check] = {
    "output": locality.check_output,
    "given_edges": locality.check_given_edges,
    "longer_edges": locality.check_longer_edges,
    "batch": locality.check_batch,
    "isolated_atom": locality.check_isolated_atom,
    "receptive_field": locality.check_receptive_field,
    "translation": symmetry.check_translation,
    "rotation": symmetry.check_rotation,
    "reflection": symmetry.check_reflection,
    "vectors": symmetry.check_vectors,
    "permutation": symmetry.check_permutation,
    "cell_choice": symmetry.check_cell_choice,
    "supercell": symmetry.check_supercell,
    "forces": derivatives.check_forces,
    "stress": derivatives.check_stress,
    "cutoff": derivatives.check_cutoff,
    "second_derivatives": derivatives.check_second_derivatives,
    "copies": state.check_copies,
    "state_dict": state.check_state_dict,
    "compile": compiled.check_compile,
    "compiled_second_derivatives": compiled.check_compiled_second_derivatives,
    "autocast": execution.check_autocast,
    "deterministic": execution.check_deterministic,
}


def check_encoder(
    encoder: nn.Module,
    crystal: Crystal | None = None,
    *,
    cutoff: float | None = None,
    seed: int = 0,
    skip: Collection[str] = (),
) -> None:
    """Check that an encoder is invariant, smooth, differentiable, extensive, and uses the edges it is given.

    Works on a copy of the encoder in float64 and evaluation mode; the encoder itself is not touched. Two
    checks look at what an encoder may have: `receptive_field`, the distance in angstrom beyond which an atom
    changes nothing, and `point_vectors` [N, 3, ...] of its output, which turn with the crystal.

    Parameters
    ----------
    encoder
        Any module that maps a batch to an object with `system_embedding` and `point_embedding`.
    crystal
        Where the checks start from; a random one of three atoms of Al, Cu and Au where None.
    cutoff
        The length beyond which the encoder's edges contribute nothing, angstrom; `encoder.cutoff` where None.
    seed
        Of the random rotations, shifts and directions, and of the crystal.
    skip
        Names in `CHECKS` to leave out, such as "reflection" for an encoder that tells left from right.

    Raises
    ------
    AssertionError
        At the first check that fails; the message says what was compared and by how much it differs.
    ValueError
        Where `skip` holds a name that is not in `CHECKS`, or where no cutoff is known.
    """
    unknown = sorted(set(skip) - set(CHECKS))
    if unknown:
        raise ValueError(f"skip holds {unknown}: the checks are {', '.join(CHECKS)}.")
    reach = getattr(encoder, "cutoff", None) if cutoff is None else cutoff
    if reach is None:
        raise ValueError(
            f"{type(encoder).__name__} has no attribute 'cutoff': give check_encoder its cutoff."
        )
    crystal = random_crystal(seed) if crystal is None else crystal
    if not neighbours(crystal, float(reach))[0].shape[1]:
        raise ValueError(f"The crystal has no edges within {reach:g} angstrom: give a denser one.")
    copy = deepcopy(encoder).double().eval()
    for name, check in CHECKS.items():
        if name not in skip:
            check(copy, crystal, float(reach), seed)
