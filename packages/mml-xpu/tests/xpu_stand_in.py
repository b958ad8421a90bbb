"""A stand-in for `torch.xpu` on machines without an Intel GPU: it records calls and invents memory figures.

It proves what our code asks of torch.xpu and when. It does not prove that a driver answers like this, that
tensors move, that kernels run or that numbers are right on a GPU: nothing here ever leaves the CPU.
"""

from __future__ import annotations

from types import SimpleNamespace


class XPUStandIn:
    def __init__(self, count: int, *, knows_free_memory: bool = True) -> None:
        self.count = count
        self.knows_free_memory = knows_free_memory
        self.calls: list[tuple] = []

    def is_available(self) -> bool:
        return self.count > 0

    def device_count(self) -> int:
        return self.count

    def set_device(self, device) -> None:
        self.calls.append(("set_device", str(device)))

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
        return SimpleNamespace(total_memory=6)

    def mem_get_info(self, device) -> tuple[int, int]:
        if not self.knows_free_memory:
            raise RuntimeError("The device doesn't support querying the available free memory.")
        return 5, 6
