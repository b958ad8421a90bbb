"""Names that the older toolkit documents and this package does not have, with their replacements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["NOT_HERE", "missing_names"]

_OWN_DATA = "mml_data.LMDBDataset, which opens what `matsciml data import` has written"
_STANDARD_CALLBACK = "a callback of Lightning"

NOT_HERE: dict[str, str] = {
    "matsciml.common.types.ModelOutput": "a task's predict(batch), which returns a dict",
    "matsciml.datasets.base.BaseLMDBDataset": _OWN_DATA,
    "matsciml.datasets.base.PointCloudDataset": _OWN_DATA,
    "matsciml.datasets.generic.MatSciMLDataset": _OWN_DATA,
    "matsciml.datasets.generic.write_data_to_hdf5_group": "mml_data.LMDBWriter",
    "matsciml.datasets.lmdb_cli.check_sample": "`matsciml data show DATASET INDEX`",
    "matsciml.datasets.lmdb_cli.dump_statistics": "`matsciml data stats DATASET`",
    "matsciml.datasets.lmdb_cli.interactive": "mml_data.LMDBDataset in a Python session",
    "matsciml.datasets.lmdb_cli.print_structure": "`matsciml data info DATASET`",
    "matsciml.datasets.schema.DataSampleSchema": "mml_data.Manifest, whose schema describes samples",
    "matsciml.datasets.schema.DatasetSchema": "mml_data.Manifest",
    "matsciml.datasets.schema.PeriodicBoundarySchema": "the key 'pbc' of a sample, three booleans",
    "matsciml.datasets.schema.TargetSchema": "mml_data.Manifest, whose schema describes targets",
    "matsciml.datasets.transforms.base.AbstractDataTransform": "any callable, dict to dict",
    "matsciml.datasets.utils.calculate_ase_periodic_shifts": "mml_graphs.find_edges",
    "matsciml.datasets.utils.calculate_periodic_shifts": "mml_graphs.find_edges",
    "matsciml.datasets.utils.element_types": "an encoder's own table, which knows all elements",
    "matsciml.lightning.callbacks.LeanFormat": _STANDARD_CALLBACK,
    "matsciml.lightning.callbacks.Timer": "mml_diagnostics.ThroughputCallback",
    "matsciml.models.common.IrrepOutputBlock": "mml_tasks.OutputHead",
    "matsciml.models.common.OutputBlock": "mml_tasks.OutputHead",
    "matsciml.models.dgl.CHGNet": "mml_models.CHGNet",
    "matsciml.models.dgl.GalaPotential": "mml_models.SchNet or mml_models.EGNN",
    "matsciml.models.dgl.M3GNet": "mml_models.M3GNet",
    "matsciml.models.dgl.MEGNet": "mml_models.MEGNet, on graphs of either library",
    "matsciml.models.dgl.PLEGNNBackbone": "mml_models.EGNN, on graphs of either library",
    "matsciml.models.dgl.SchNet": "mml_models.SchNet, on graphs of either library",
    "matsciml.models.dgl.TensorNet": "mml_models.TensorNet, on graphs of either library",
    "matsciml.models.inference.ParityData": "`matsciml test`, whose report compares predictions with labels",
    "matsciml.models.inference.ParityInferenceTask": (
        "`matsciml test`, whose report compares predictions with labels"
    ),
    "matsciml.models.pyg.DimeNetPlusPlusWrap": "mml_models.DimeNetPlusPlus",
    "matsciml.models.pyg.DimeNetWrap": "mml_models.DimeNetPlusPlus",
    "matsciml.models.pyg.FAENet": "mml_models.SchNet or mml_models.EGNN",
    "matsciml.models.pyg.MACEWrapper": "mml_models.MACE",
    "matsciml.models.pyg.SchNetWrap": "mml_models.SchNet",
    "matsciml.models.pyg.mace.MACEWrapper": "mml_models.MACE",
}
"""Mapping from a documented name to its closest replacement."""


def missing_names(module: str) -> Callable[[str], Any]:
    """Return a ``__getattr__`` function for a module, whose error names the replacement of a missing name.

    Parameters
    ----------
    module
        Name of the module.
    """

    def missing(name: str) -> Any:
        instead = NOT_HERE.get(f"{module}.{name}")
        if instead is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # Raise an ImportError: `from module import name` would replace an AttributeError with its own error.
        raise ImportError(
            f"{module}.{name} of the older toolkit is not here; the nearest thing is {instead}",
            name=module,
        )

    return missing
