"""The classes and the strategy registry of this package for `lightning.pytorch`.

Importing this module registers the strategies.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry

from mml_distributed.environment import MPIEnvironmentMixin
from mml_distributed.registration import register_classes
from mml_distributed.strategy import MPIDDPStrategyMixin

__all__ = ["MPIDDPStrategy", "MPIEnvironment", "StrategyRegistry"]


class MPIEnvironment(MPIEnvironmentMixin, ClusterEnvironment):
    """MPI cluster environment for `lightning.pytorch`.

    See :class:`mml_distributed.environment.MPIEnvironmentMixin`.
    """


class MPIDDPStrategy(MPIDDPStrategyMixin, DDPStrategy):
    """DDP strategy under MPI for `lightning.pytorch`.

    See :class:`mml_distributed.strategy.MPIDDPStrategyMixin`.
    """

    environment_class: ClassVar[type[Any]] = MPIEnvironment

    @classmethod
    def register_strategies(cls, strategy_registry: object) -> None:
        """Do nothing. Lightning's implementation would register the names of its own DDP strategies again."""


register_classes(sys.modules[__name__])
