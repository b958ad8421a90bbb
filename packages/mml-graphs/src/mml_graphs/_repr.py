"""A repr that can be pasted back, from the arguments of the constructor."""

from __future__ import annotations

import inspect


def pasteable_repr(instance: object) -> str:
    """Write ``Class(argument=value, ...)`` from the attributes named like the constructor's arguments.

    Parameters
    ----------
    instance
        An object that keeps every argument of its constructor under the argument's name.

    Returns
    -------
    str
        An expression that builds an equal object.
    """
    names = list(inspect.signature(type(instance)).parameters)
    return f"{type(instance).__name__}({', '.join(f'{name}={getattr(instance, name)!r}' for name in names)})"
