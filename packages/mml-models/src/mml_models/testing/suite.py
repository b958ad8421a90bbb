"""Run all checks of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import deepcopy

from torch import nn

from mml_models.testing import compiled, derivatives, execution, locality, state, symmetry
from mml_models.testing.crystals import Crystal, neighbors, random_crystal
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
    """Check that an encoder is invariant, smooth, differentiable and extensive, and uses the given edges.

    The checks run on a copy of the encoder in float64 and evaluation mode. The encoder itself is not
    modified. Two checks are only run if an optional attribute exists: `receptive_field` of the encoder, the
    distance in angstrom beyond which an atom does not change the embedding of another atom, and
    `point_vectors` [N, 3, ...] of its output, which must rotate with the crystal.

    Parameters
    ----------
    encoder
        Module that maps a batch to an object with the attributes `system_embedding` and `point_embedding`.
    crystal
        Crystal from which the checks build their inputs. None uses a random crystal of three atoms, each of
        them Al, Cu or Au.
    cutoff
        Cutoff radius of the encoder, angstrom. None uses `encoder.cutoff`.
    seed
        Seed of the random rotations, shifts and directions, and of the default crystal.
    skip
        Names in `CHECKS` of checks to skip, such as "reflection" for an encoder that distinguishes mirror
        images.

    Raises
    ------
    AssertionError
        If a check fails. The message names the compared quantities and reports their difference. The
        remaining checks are not run.
    ValueError
        If `skip` contains a name that is not in `CHECKS`, no cutoff is given and the encoder has no attribute
        `cutoff`, or the crystal has no edges within the cutoff.
    """
    unknown = sorted(set(skip) - set(CHECKS))
    if unknown:
        raise ValueError(f"skip has unknown checks {unknown}, known are {', '.join(CHECKS)}")
    reach = getattr(encoder, "cutoff", None) if cutoff is None else cutoff
    if reach is None:
        raise ValueError(
            f"{type(encoder).__name__} has no attribute 'cutoff'. Pass the cutoff to check_encoder."
        )
    crystal = random_crystal(seed) if crystal is None else crystal
    if not neighbors(crystal, float(reach))[0].shape[1]:
        raise ValueError(f"The crystal has no edges within {reach:g} angstrom. Pass a denser crystal.")
    copy = deepcopy(encoder).double().eval()
    for name, check in CHECKS.items():
        if name not in skip:
            check(copy, crystal, float(reach), seed)
