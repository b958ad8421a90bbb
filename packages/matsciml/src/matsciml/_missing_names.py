"""Names that the older toolkit documents and that matsciml does not have, with their replacements."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from typing import NoReturn

__all__ = ["MISSING_NAMES", "add_empty_modules", "missing_names"]

_DATASET = "mml_data.LMDBDataset, which reads the data sets of `matsciml data import`"
_TEST = "`matsciml test`, whose report compares predictions with labels"

MISSING_NAMES: dict[str, dict[str, str]] = {
    "matsciml.common.types": {
        "ModelOutput": "a task's predict(batch), which returns a dict",
    },
    "matsciml.datasets.base": {
        "BaseLMDBDataset": _DATASET,
        "PointCloudDataset": _DATASET,
    },
    "matsciml.datasets.generic": {
        "MatSciMLDataset": _DATASET,
        "write_data_to_hdf5_group": "mml_data.LMDBWriter",
    },
    "matsciml.datasets.lmdb_cli": {
        "check_sample": "`matsciml data show DATASET INDEX`",
        "dump_statistics": "`matsciml data stats DATASET`",
        "interactive": "mml_data.LMDBDataset in a Python session",
        "print_structure": "`matsciml data info DATASET`",
    },
    "matsciml.datasets.schema": {
        "DataSampleSchema": "mml_data.Manifest, whose schema describes samples",
        "DatasetSchema": "mml_data.Manifest",
        "PeriodicBoundarySchema": "the key 'pbc' of a sample, three booleans",
        "TargetSchema": "mml_data.Manifest, whose schema describes targets",
    },
    "matsciml.datasets.transforms.base": {
        "AbstractDataTransform": "any callable, dict to dict",
    },
    "matsciml.datasets.utils": {
        "calculate_ase_periodic_shifts": "mml_graphs.find_edges",
        "calculate_periodic_shifts": "mml_graphs.find_edges",
        "element_types": "an encoder's own table, which knows all elements",
    },
    "matsciml.lightning.callbacks": {
        "LeanFormat": "a callback of Lightning",
        "Timer": "mml_diagnostics.ThroughputCallback",
    },
    "matsciml.models.common": {
        "IrrepOutputBlock": "mml_tasks.OutputHead",
        "OutputBlock": "mml_tasks.OutputHead",
    },
    "matsciml.models.dgl": {
        "CHGNet": "mml_models.CHGNet",
        "GalaPotential": "mml_models.SchNet or mml_models.EGNN",
        "M3GNet": "mml_models.M3GNet",
        "MEGNet": "mml_models.MEGNet, on graphs of either library",
        "PLEGNNBackbone": "mml_models.EGNN, on graphs of either library",
        "SchNet": "mml_models.SchNet, on graphs of either library",
        "TensorNet": "mml_models.TensorNet, on graphs of either library",
    },
    "matsciml.models.inference": {
        "ParityData": _TEST,
        "ParityInferenceTask": _TEST,
    },
    "matsciml.models.pyg": {
        "DimeNetPlusPlusWrap": "mml_models.DimeNetPlusPlus",
        "DimeNetWrap": "mml_models.DimeNetPlusPlus",
        "FAENet": "mml_models.SchNet or mml_models.EGNN",
        "MACEWrapper": "mml_models.MACE",
        "SchNetWrap": "mml_models.SchNet",
    },
    "matsciml.models.pyg.mace": {
        "MACEWrapper": "mml_models.MACE",
    },
}
"""Mapping from the path of a module to its missing names, and from each name to its closest replacement."""


def missing_names(module: str) -> Callable[[str], NoReturn]:
    """Return the ``__getattr__`` function of a module, which names the replacement of a missing name.

    Parameters
    ----------
    module
        Path of the module.
    """

    def missing(name: str) -> NoReturn:
        instead = MISSING_NAMES.get(module, {}).get(name)
        if instead is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # Raise an ImportError: `from module import name` would replace an AttributeError with its own error.
        raise ImportError(
            f"{module}.{name} of the older toolkit is not available; the closest replacement is {instead}",
            name=module,
        )

    return missing


def add_empty_modules(package: str, *names: str) -> None:
    """Create the modules of a package that contain only missing names.

    The package calls this function when it is imported, which is before Python looks for its modules.

    Parameters
    ----------
    package
        Path of the package.
    *names
        Names of the modules. Their missing names are in `MISSING_NAMES`.
    """
    for name in names:
        path = f"{package}.{name}"
        module = module_from_spec(ModuleSpec(path, None))
        module.__doc__ = "Import path of the older toolkit, whose names are not available."
        vars(module).update(__all__=[], __getattr__=missing_names(path))
        sys.modules[path] = module
        setattr(sys.modules[package], name, module)
