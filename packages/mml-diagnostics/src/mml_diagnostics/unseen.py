"""Repeat a module's steps without side effects on logs, metrics, buffers and attributes."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

LOGGING = ("log", "log_dict")
CONTAINERS = (list, dict, set, deque)


@contextmanager
def unseen(module: nn.Module) -> Iterator[None]:
    """Undo the side effects of the steps inside the context, except their results and the gradients.

    Inside the context, ``self.log`` and ``self.log_dict`` of ``module`` do nothing. At its end, the following
    are restored: all buffers, such as batch norm statistics; the torchmetrics metrics among the module's
    submodules; and the attributes of its LightningModules, such as numbers, tensors and lists. Of a
    container, the entries are restored, but not the contents of the entries.

    Parameters
    ----------
    module
        Module whose steps are repeated.
    """
    put_back = [_put_back_buffers(module)]
    for part in module.modules():
        base = _framework_class(part)
        if base is not None:  # attributes of the base class belong to the framework
            put_back.append(_put_back_attributes(part, frozenset(vars(base()))))
    own = {name: vars(module)[name] for name in LOGGING if name in vars(module)}
    try:
        for name in LOGGING:
            vars(module)[name] = lambda *args, **kwargs: None
        yield
    finally:
        for name in LOGGING:
            del vars(module)[name]
        vars(module).update(own)
        for restore in put_back:
            restore()


def _framework_class(part: nn.Module) -> type[nn.Module] | None:
    """Return the framework class of a metric or of a module of either Lightning package, otherwise None."""
    if hasattr(type(part), "metric_state"):  # a torchmetrics.Metric
        return nn.Module
    return next((cls for cls in type(part).__mro__ if cls.__name__ == "LightningModule"), None)


def _put_back_buffers(module: nn.Module) -> Callable[[], None]:
    before = [
        (part, name, buffer, buffer.detach().clone(), _version(buffer))
        for part in module.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]

    @torch.no_grad()
    def restore() -> None:
        for part, name, buffer, value, version in before:
            if _version(buffer) != version:
                buffer.copy_(value)
            elif getattr(part, "track_running_stats", False):
                buffer.data.copy_(value)  # batch norm updates its statistics without changing their version
            setattr(part, name, buffer)

    return restore


def _put_back_attributes(part: nn.Module, left_alone: frozenset[str]) -> Callable[[], None]:
    before = {name: value for name, value in vars(part).items() if name not in left_alone}
    copies = {name: _copy(value) for name, value in before.items()}
    versions = {name: _version(value) for name, value in before.items() if isinstance(value, Tensor)}

    def restore() -> None:
        for name in vars(part).keys() - left_alone - before.keys():
            del vars(part)[name]
        for name, value in before.items():
            if isinstance(value, Tensor) and _version(value) != versions[name]:
                vars(part)[name] = copies[name]
                continue
            vars(part)[name] = value
            if type(value) in CONTAINERS:
                _refill(value, copies[name])

    return restore


def _version(tensor: Tensor) -> int:
    """Return a number that changes when a tensor is modified in place; -1 for an inference tensor."""
    return -1 if tensor.is_inference() else tensor._version


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return value.copy() if type(value) in CONTAINERS else None


def _refill(container: Any, entries: Any) -> None:
    container.clear()
    if isinstance(container, dict | set):
        container.update(entries)
    else:
        container.extend(entries)
