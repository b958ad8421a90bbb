"""Find compiled parts of a task, and map the names of their weights in checkpoints."""

from __future__ import annotations

from torch import Tensor, nn

PREFIX = "_orig_mod."
"""Prefix that ``torch.compile(module)`` adds to the names of a module's weights."""


def compiled_part(module: nn.Module) -> str | None:
    """Return the name of a part that ``torch.compile`` or ``Module.compile`` has compiled, or None."""
    for name, part in module.named_modules():
        if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
            return name.replace(PREFIX, "") or type(module).__name__
    # Lightning sets this attribute on a module that was compiled as a whole.
    return type(module).__name__ if getattr(module, "_compiler_ctx", None) is not None else None


def use_original_names(module: nn.Module) -> None:
    """Make a module save and load its weights under the names that they have without ``torch.compile``."""
    module.register_state_dict_post_hook(_rename_saved)
    module.register_load_state_dict_pre_hook(_rename_loaded)


def _rename_saved(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    if any(PREFIX in name for name in state):
        renamed = {name.replace(PREFIX, ""): value for name, value in state.items()}
        state.clear()
        state.update(renamed)


def _rename_loaded(module: nn.Module, state: dict[str, Tensor], prefix: str, *args: object) -> None:
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    names += [name for name, _ in module.named_buffers(remove_duplicate=False)]
    for name in names:
        original = prefix + name.replace(PREFIX, "")
        if PREFIX in name and original in state:
            state[prefix + name] = state.pop(original)
