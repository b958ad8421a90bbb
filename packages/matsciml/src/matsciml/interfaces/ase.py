"""The ASE calculator of a task, at the older toolkit's path.

from matsciml.interfaces.ase import MatSciMLCalculator

atoms.calc = MatSciMLCalculator.from_checkpoint("best.ckpt")
"""

from mml_tasks.ase_calculator import TaskCalculator as MatSciMLCalculator

from matsciml._not_here import missing_names

__all__ = ["MatSciMLCalculator"]

__getattr__ = missing_names(__name__)
