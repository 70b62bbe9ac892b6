"""Names of version 0.1 that are kept for one version more, each with a warning that says the new one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def told(old: str, new: str, where: int = 3) -> None:
    """Warns whoever used the old name, `where` calls above."""
    warnings.warn(f"{old} is now {new}; the old name goes with the next version", DeprecationWarning, where)


def renamed(**names: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Lets a function take keywords by their old names, too: renamed(old="new")."""

    def decorated(f: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(f)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            for old in names.keys() & kwargs:
                told(f"{f.__name__}({old}=...)", f"{f.__name__}({names[old]}=...)")
                kwargs[names[old]] = kwargs.pop(old)
            return f(*args, **kwargs)

        return called

    return decorated
