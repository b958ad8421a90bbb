"""Check that a sample can be stored."""

from collections.abc import Mapping

from mml_samples import GEOMETRY_KEYS, check_sample, sample_name

__all__ = ["check_storable"]


def check_storable(sample: Mapping[str, object]) -> int:
    """Check a sample against the contract and the requirements on stored samples.

    Parameters
    ----------
    sample
        Sample with ``atomic_numbers`` and ``pos``. All values of the structure must be arrays or tensors,
        because lists would be read back as lists.

    Returns
    -------
    int
        Number of atoms.

    Raises
    ------
    TypeError
        If the sample, its targets or one of these values has the wrong type.
    ValueError
        If a key is missing, or a value is invalid; see `mml_samples.check_sample`.
    """
    num_atoms = check_sample(sample)
    for key in ("atomic_numbers", "pos"):
        if key not in sample:
            raise ValueError(
                f"{sample_name(sample)} has no {key!r}, its keys are {sorted(sample)}. Stored samples need "
                "'atomic_numbers' and 'pos'."
            )
    for key in ("atomic_numbers", "pbc", *GEOMETRY_KEYS):
        if isinstance(sample.get(key), list | tuple):
            raise TypeError(
                f"{key} of {sample_name(sample)} must be an array or a tensor, got a "
                f"{type(sample[key]).__name__}"
            )
    return num_atoms
