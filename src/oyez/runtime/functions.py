"""The signature of a function: whether it can be called as the server will call it, and how it is named in errors."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any


def find_signature_error(function: Any, arguments: Sequence[str], *, waits: bool | None = None) -> str | None:
    """The reason why `function` cannot be called with `arguments`, which are names for the message; None if it can.

    `waits` is True if it must be an `async def`, False if it must be a plain `def`, None if it may be either.
    """
    if not callable(function):
        return f"is not a function, but {function!r:.40}"
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Some functions written in C have no signature.
        return None
    call = f"({', '.join(arguments)})"
    try:
        signature.bind(*arguments)
    except TypeError:
        taken = ", ".join(signature.parameters) or "nothing"
        return f"{describe(function)} takes {taken}, and is called with {call}"
    if inspect.isgeneratorfunction(_unwrap(function)) or inspect.isasyncgenfunction(_unwrap(function)):
        return f"{describe(function)} has a `yield`, so a call does nothing: return a value instead"
    is_async = inspect.iscoroutinefunction(_unwrap(function))
    if waits is False and is_async:
        return f"{describe(function)} is an `async def`, and is not awaited: make it a plain `def`"
    if waits and not is_async and inspect.isfunction(_unwrap(function)) and not _may_return_awaitable(function):
        return f"{describe(function)} is a plain `def`, and is awaited: make it an `async def`"
    return None


def describe(function: Callable[..., Any]) -> str:
    """A function's name, its file and its line."""
    inner = _unwrap(function)
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", type(function).__name__).replace("<locals>.", "").rpartition(".")[2]
    return f"{name} ({Path(code.co_filename).name}, line {code.co_firstlineno})" if code is not None else name


def _unwrap(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return getattr(inspect.unwrap(function), "__func__", inspect.unwrap(function))


def _may_return_awaitable(function: Any) -> bool:
    """True for a lambda, and for a function whose annotation says that it returns an awaitable."""
    inner = _unwrap(function)
    returned = getattr(inner, "__annotations__", {}).get("return", "")
    return inner.__name__ == "<lambda>" or any(word in str(returned) for word in ("Awaitable", "Coroutine", "Future"))
