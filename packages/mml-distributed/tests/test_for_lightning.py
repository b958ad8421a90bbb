from importlib.util import find_spec
from pathlib import Path


def test_module_equals_its_twin():
    """The classes for the two Lightning packages differ only in their base classes."""
    ours, twin = (
        Path(find_spec(f"mml_distributed.for_{root}").origin).read_text(encoding="utf-8")
        for root in ("lightning", "pytorch_lightning")
    )
    twin = twin.replace("lightning_fabric", "lightning.fabric").replace(
        "pytorch_lightning", "lightning.pytorch"
    )
    assert sorted(ours.splitlines()) == sorted(twin.splitlines())
