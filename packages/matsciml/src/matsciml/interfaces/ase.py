"""The ASE calculator of a task, under the older toolkit's import path, and the calculator of a run.

from matsciml.interfaces.ase import load_calculator

atoms.calc = load_calculator("runs/fit/checkpoints/best.ckpt")
"""

from importlib.util import find_spec

if find_spec("ase") is None:
    raise ImportError(
        "matsciml.interfaces.ase requires ASE, which is not installed: pip install 'matsciml[ase]'"
    )

from mml_tasks.ase_calculator import TaskCalculator as MatSciMLCalculator

from matsciml.runs.trained import load_calculator

__all__ = ["MatSciMLCalculator", "load_calculator"]
