"""The classes of this package in the hierarchy of `pytorch_lightning`, and its registry."""

from __future__ import annotations

from typing import Any, ClassVar

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry

from mml_distributed.environment import MPIEnvironmentMixin
from mml_distributed.strategy import MPIDDPStrategyMixin

__all__ = ["MPIDDPStrategy", "MPIEnvironment", "StrategyRegistry"]


class MPIEnvironment(MPIEnvironmentMixin, ClusterEnvironment):
    """MPI launch for `pytorch_lightning`: see :class:`mml_distributed.environment.MPIEnvironmentMixin`."""


class MPIDDPStrategy(MPIDDPStrategyMixin, DDPStrategy):
    """DDP under MPI for `pytorch_lightning`: see :class:`mml_distributed.strategy.MPIDDPStrategyMixin`."""

    environment_class: ClassVar[type[Any]] = MPIEnvironment

    @classmethod
    def register_strategies(cls, strategy_registry: Any) -> None:
        """Do nothing: Lightning's own would register the names of its DDP again."""
