"""Distributed data parallel training of processes that an MPI launcher has started."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from torch.nn.parallel import DistributedDataParallel

from mml_distributed._optional import has_oneccl, import_oneccl
from mml_distributed.connection import connecting
from mml_distributed.environment import MPIEnvironmentMixin
from mml_distributed.rendezvous import DEFAULT_TIMEOUT, check_gloo_interface, check_reachable

if TYPE_CHECKING:
    from pytorch_lightning.strategies import DDPStrategy as _Base
else:
    _Base = object

BACKENDS = {"cuda": "nccl", "xpu": "xccl"}
"""Mapping from device type to process group backend. All other devices use gloo."""


class MPIDDPStrategyMixin(_Base):
    """Lightning's DDP strategy for processes that mpirun, mpiexec, srun or PALS has started.

    Parameters
    ----------
    process_group_backend
        Backend of torch.distributed. Default: nccl on CUDA devices, xccl on Intel GPUs (or ccl, if torch does
        not have xccl and oneCCL's bindings are installed), and gloo otherwise.
    cluster_environment
        Cluster environment. Default: `MPIEnvironment()`.
    timeout
        Time limit for the rendezvous and for collective operations.
    required_accelerator
        Name of the only accelerator that this strategy supports. None allows all accelerators.
    **kwargs
        Arguments of Lightning's `DDPStrategy` and of `DistributedDataParallel`.

    Raises
    ------
    RuntimeError, ValueError
        If no launcher started this process, the rendezvous cannot be determined, or the Trainer contradicts
        the launch. See `MPIEnvironment`.
    ImportError
        If the backend is ccl and oneCCL's bindings are not installed.
    """

    environment_class: ClassVar[type[Any]]

    def __init__(
        self,
        *,
        process_group_backend: str | None = None,
        cluster_environment: Any | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        required_accelerator: str | None = None,
        **kwargs: Any,
    ) -> None:
        if "start_method" in kwargs:
            raise ValueError(
                f"start_method={kwargs['start_method']!r} is not supported, because the MPI launcher starts "
                "the processes. Omit it."
            )
        if process_group_backend == "ccl":
            import_oneccl()
        # Create the environment here. The Trainer would detect an environment itself, and initialize MPI
        # through mpi4py in the process.
        environment = cluster_environment
        if environment is None:
            environment = self.environment_class(timeout=timeout)
        super().__init__(
            cluster_environment=environment,
            process_group_backend=process_group_backend,
            timeout=timeout,
            **kwargs,
        )
        self._required_accelerator = required_accelerator

    def set_world_ranks(self) -> None:
        """Set the rank in Lightning's rank-zero utilities. Lightning's method also needs the node index."""
        rank_zero_only.rank = self.global_rank  # type: ignore[attr-defined]

    def _configure_launcher(self) -> None:
        # The Trainer calls this method at the end of its constructor, before anything has started.
        if self._required_accelerator is not None and self.accelerator is not None:
            name = self.accelerator.name()
            if name != self._required_accelerator:
                raise ValueError(
                    f"strategy 'ddp_with_{self._required_accelerator}' requires accelerator "
                    f"{self._required_accelerator!r}, got {name!r}. Pass "
                    f"accelerator={self._required_accelerator!r} (registered by `import mml_xpu`), or "
                    "strategy='ddp_with_mpi'."
                )
        if self.cluster_environment is not None:
            self.cluster_environment.validate_settings(
                num_devices=self.num_processes, num_nodes=self.num_nodes
            )
        super()._configure_launcher()

    def setup_distributed(self) -> None:
        """Start the process group, and determine this node's index if the launcher does not report it.

        Raises
        ------
        RuntimeError
            If other nodes cannot reach the address of rank 0 or gloo's address on this node, the ranks do not
            connect within the timeout, or mpi4py is in use and disagrees with the launcher about the ranks.
        """
        environment: Any = self.cluster_environment
        if not isinstance(environment, MPIEnvironmentMixin):
            super().setup_distributed()
            return
        check_reachable(environment.launch, environment.main_address)
        if self._get_process_group_backend() == "gloo":
            check_gloo_interface(environment.launch, os.environ)
        with connecting(environment.launch, environment.main_address, environment.main_port):
            super().setup_distributed()
        if environment.needs_hosts:
            hosts: list[Any] = [None] * environment.world_size()
            torch.distributed.all_gather_object(hosts, environment.launch.host or socket.gethostname())
            environment.set_hosts(hosts)

    def _get_process_group_backend(self) -> str:
        return self.process_group_backend or default_backend(self.root_device)

    def _setup_model(self, model: torch.nn.Module) -> DistributedDataParallel:
        # Same as in Lightning, except that a CUDA stream is opened on CUDA devices only. Lightning opens one
        # on Intel GPUs as well.
        device_ids = self.determine_ddp_device_ids()
        on_cuda = self.root_device.type == "cuda"
        with torch.cuda.stream(torch.cuda.Stream()) if on_cuda else nullcontext():
            return DistributedDataParallel(module=model, device_ids=device_ids, **self._ddp_kwargs)


def default_backend(device: torch.device) -> str:
    """Return the default process group backend for a device.

    Raises
    ------
    RuntimeError
        If the device is an Intel GPU, torch does not have xccl, and oneCCL's bindings are not installed.
    """
    backend = BACKENDS.get(device.type, "gloo")
    if backend == "xccl" and not torch.distributed.is_xccl_available():
        if has_oneccl():
            import_oneccl()
            return "ccl"
        raise RuntimeError(
            f"torch {torch.__version__} does not have xccl, the process group backend for Intel GPUs. "
            "Install the XPU build (uv pip install --torch-backend=xpu torch), or use "
            "strategy='ddp_with_ccl' with oneCCL's bindings."
        )
    return backend
