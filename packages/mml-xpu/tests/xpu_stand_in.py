"""Stand-in for `torch.xpu` on machines without an Intel GPU. It records calls and returns constant numbers.

With it, the tests check the calls of torch.xpu and their order. They do not check the driver, the movement of
tensors, the kernels or the results on a GPU, because all computations run on the CPU.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch


class XPUStandIn:
    def __init__(self, count: int, *, knows_free_memory: bool = True) -> None:
        self.count = count
        self.knows_free_memory = knows_free_memory
        self.calls: list[tuple] = []
        self.rng_state = torch.arange(8, dtype=torch.uint8)

    def is_available(self) -> bool:
        return self.count > 0

    def device_count(self) -> int:
        return self.count

    def set_device(self, device) -> None:
        self.calls.append(("set_device", str(device)))

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed) -> None:
        self.calls.append(("manual_seed_all", seed))

    def get_rng_state(self, device) -> torch.Tensor:
        return self.rng_state

    def set_rng_state(self, state, device) -> None:
        self.rng_state = state

    def empty_cache(self) -> None:
        self.calls.append(("empty_cache",))

    def memory_allocated(self, device) -> int:
        return 1

    def memory_reserved(self, device) -> int:
        return 2

    def max_memory_allocated(self, device) -> int:
        return 3

    def max_memory_reserved(self, device) -> int:
        return 4

    def get_device_properties(self, device) -> SimpleNamespace:
        return SimpleNamespace(total_memory=6, name="a stand-in", max_compute_units=7, driver_version="1.2")

    def mem_get_info(self, device) -> tuple[int, int]:
        if not self.knows_free_memory:
            raise RuntimeError("The device doesn't support querying the available free memory.")
        return 5, 6


class CPUDevices:
    """Mixin for an XPUAccelerator that uses CPU devices, so that a whole fit can run."""

    @staticmethod
    def get_parallel_devices(devices) -> list[torch.device]:
        return [torch.device("cpu") for _ in devices]

    def setup_device(self, device) -> None:
        assert device.type == "cpu"


class TensorOfXPU(torch.Tensor):
    """Tensor that reports an Intel GPU as its device. `.cpu()` returns its values."""

    @staticmethod
    def __new__(cls, values):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, values.shape, dtype=values.dtype, device=torch.device("xpu", 0)
        )
        tensor.values_on_cpu = values
        return tensor

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        if function is torch.ops.aten._to_copy.default and options["device"].type == "cpu":
            return arguments[0].values_on_cpu
        raise NotImplementedError(f"the stand-in tensor cannot {function}")
