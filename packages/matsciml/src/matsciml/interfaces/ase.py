"""The ASE calculator of a task, at the older toolkit's path.

from matsciml.interfaces.ase import MatSciMLCalculator

atoms.calc = MatSciMLCalculator.from_checkpoint("best.ckpt")
"""

from importlib.util import find_spec

from matsciml._not_here import missing_names

if find_spec("ase") is None:
    raise ImportError("matsciml.interfaces.ase needs ASE: pip install 'matsciml[ase]'")

from mml_tasks.ase_calculator import TaskCalculator as MatSciMLCalculator

__all__ = ["MatSciMLCalculator"]

__getattr__ = missing_names(__name__)
