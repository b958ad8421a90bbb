"""Build a repr that is a valid constructor call."""

from __future__ import annotations

import inspect


def pasteable_repr(instance: object) -> str:
    """Return ``Class(argument=value, ...)``, with the values of the attributes named like the arguments.

    Parameters
    ----------
    instance
        Object that stores every argument of its constructor under the argument's name.

    Returns
    -------
    str
        Expression that builds an equal object.
    """
    names = list(inspect.signature(type(instance)).parameters)
    return f"{type(instance).__name__}({', '.join(f'{name}={getattr(instance, name)!r}' for name in names)})"
