"""Calls that must be awaited: a forgotten `await` is logged as an error, and the handler fails.

Python frees a forgotten coroutine as soon as the handler drops it, in the context of the handler. So the code that runs
a handler compares the value of `forgotten` before and after it.
"""

import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from functools import wraps
from types import CodeType, TracebackType
from typing import Any, ParamSpec, TypeVar

from oyez.errors import OyezError
from oyez.logger import get_logger, new_error_id

logger = get_logger("oyez.runtime")

P = ParamSpec("P")
T = TypeVar("T")


class NotAwaitedError(OyezError):
    """A handler has ended without awaiting one of its calls. The log has the place of the call."""

    def __init__(self, error_id: str) -> None:
        """`error_id` is the id of the line in the log."""
        super().__init__(f"a call was never awaited: see error {error_id} in the log")
        self.error_id = error_id


forgotten: ContextVar[str] = ContextVar("forgotten", default="")
"""The id of the log line about the latest call in this context that was dropped without being awaited."""


def check_awaited(before: str) -> None:
    """Raises NotAwaitedError if a call was dropped since `forgotten` held `before`."""
    if forgotten.get() is not before:
        raise NotAwaitedError(forgotten.get())


def must_await(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a coroutine function: its coroutine logs an error if it is freed without having been awaited."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        frame = sys._getframe(1)
        return _Call(function(*args, **kwargs), function.__qualname__, frame.f_code, frame.f_lasti)

    return call


class _Call(Coroutine[Any, Any, T]):
    """A coroutine that records whether it was started, and where it was created."""

    __slots__ = ("_code", "_coroutine", "_instruction", "_name", "_started")

    def __init__(self, coroutine: Coroutine[Any, Any, T], name: str, code: CodeType, instruction: int) -> None:
        self._coroutine = coroutine
        self._name = name
        self._code = code
        self._instruction = instruction
        self._started = False

    def __await__(self) -> Generator[Any, Any, T]:
        self._started = True
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        self._started = True
        return self._coroutine.send(value)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        self._started = True
        return self._coroutine.throw(typ if val is None else val)

    def close(self) -> None:
        self._started = True
        self._coroutine.close()

    def __del__(self) -> None:
        if self._started:
            return
        self._coroutine.close()
        error_id = new_error_id()
        forgotten.set(error_id)
        lines = [line for start, end, line in self._code.co_lines() if start <= self._instruction < end]
        logger.error(
            "a call was never awaited, so nothing was done; write `await` before it",
            error_id=error_id,
            call=self._name,
            handler=self._code.co_qualname,
            place=f"{self._code.co_filename}:{lines[0] if lines else self._code.co_firstlineno}",
        )
