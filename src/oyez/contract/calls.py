"""Calls of declarations with wrong arguments: recorded as faults, so that `build` reports them with all others.

Python would raise a TypeError at the first one, which names neither the declaration nor the argument that was meant.
"""

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from oyez.errors import ContractError

P = ParamSpec("P")
R = TypeVar("R")

MAX_SHOWN = 40
"""Characters of a value that a message shows."""
_REPLACED: Mapping[str, Any] = {"to": (), "description": "", "message": "", "roles": ()}
"""For arguments that are required, values that `build` reports as missing."""


def collecting(kind: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a method of a declaration of this `kind`: what is wrong with a call becomes one of its `faults`.

    The object has `faults`, a list. The first argument is the name. Raises ContractError if it is missing.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        parameters = list(inspect.signature(method).parameters.values())[1:]
        names = [parameter.name for parameter in parameters]
        ordered = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        keyword = next(iter([*(name for name in _REPLACED if name in names), *names[len(ordered) :]]), names[0])
        required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]

        @wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            owner: Any = args[0]
            given: dict[str, Any] = dict(kwargs)
            values = args[1:]
            if len(values) <= len(ordered) and given.keys() <= set(names):
                missing = [name for name in required[len(values) :] if name not in given]
                if not missing:
                    return method(*args, **kwargs)
            faults = [
                f"{_show(value)} is given without the name of its argument; write it, as in {keyword}=…"
                for value in values[len(ordered) :]
            ]
            faults += [_explain_unknown(name, names) for name in given if name not in names]
            known = {**dict(zip(ordered, values, strict=False)), **{n: v for n, v in given.items() if n in names}}
            title = f"{kind} {known.get(ordered[0], '')}".strip()
            for name in required:
                if name not in known and name not in _REPLACED:
                    raise ContractError("\n".join(f"{title}: {fault}" for fault in [*faults, f"needs {name}=…"]))
                known.setdefault(name, _REPLACED.get(name))
            made: Any = method(owner, **known)
            # The contract's own name stands before each of its faults.
            owner.faults.extend(fault if kind == "contract" else f"{title}: {fault}" for fault in faults)
            return made  # type: ignore[no-any-return]

        return call

    return decorate


def plainly(kind: type[R]) -> type[R]:
    """Decorates a value of a contract, such as `Presence`: a wrong name of an argument is one plain ContractError."""
    method = kind.__init__
    names = list(inspect.signature(method).parameters)[1:]

    @wraps(method)
    def init(self: R, *args: Any, **kwargs: Any) -> None:
        unknown = [name for name in kwargs if name not in names]
        if unknown:
            faults = (_explain_unknown(name, names) for name in unknown)
            raise ContractError("\n".join(f"{kind.__name__}(…): {fault}" for fault in faults))
        method(self, *args, **kwargs)

    kind.__init__ = init  # type: ignore[method-assign, assignment]
    return kind


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"a {type(value).__name__}"


def _explain_unknown(name: str, known: list[str]) -> str:
    """What is wrong with the name of an argument, with the known one that is most like it."""
    like = get_close_matches(name, known, 1, 0.5)
    meant = f"did you mean {like[0]}=…?" if like else f"known are {', '.join(known)}"
    return f"there is no argument {name}; {meant}"
