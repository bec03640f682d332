"""What a command with an id has done already: so that each of its transactions is done once, also over a crash.

The log's records have the answers of commands (`contract/repeats.py`), but a server may be killed between a commit
and its answer. So each transaction of such a command leaves a row, in itself: when the command is repeated, its handler
runs again, and gets from the row what the transaction had returned.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints

import msgspec
import structlog
from sqlalchemy import Connection, delete, insert, select

from oyez.contract.codec import encode_json, read_scalar
from oyez.contract.repeats import handled
from oyez.errors import ALREADY_DONE, RefusedError
from oyez.service.tables import commands

logger = structlog.get_logger("oyez.service")

KEPT_SECONDS = 86_400.0
"""How long it is known that a step was done: a client that was off the net comes back within a day, or asks anew."""
FORGET_INTERVAL = 600.0
"""Seconds between two rounds of forgetting."""


class Step:
    """One transaction of a command that has an id: what it returns is kept as JSON, by the function's own types."""

    def __init__(self, system: str, function: Callable[..., Any], name: str) -> None:
        self._system = system
        self._function = function
        self._name = hashlib.sha256(name.encode()).hexdigest()

    def find(self, connection: Connection) -> tuple[Any] | None:
        """What the step returned when it was done before; None where it was not.

        Raises RefusedError (already_done) where that was nothing that can be kept.
        """
        kept = select(commands.c.result).where(commands.c.system == self._system, commands.c.step == self._name)
        row = connection.execute(kept).one_or_none()
        if row is None:
            return None
        if row.result is None:
            raise RefusedError(ALREADY_DONE)
        return (msgspec.json.decode(row.result, type=_result_type(self._function), dec_hook=read_scalar),)

    def keep(self, connection: Connection, result: object, now: float) -> None:
        """Have it known, when the transaction is committed, that the step is done, and what it returned."""
        values = {"system": self._system, "step": self._name, "result": self._encode(result), "created": now}
        connection.execute(insert(commands).values(values))

    def _encode(self, result: object) -> bytes | None:
        try:
            encoded = encode_json(result)
            if msgspec.json.decode(encoded, type=_result_type(self._function), dec_hook=read_scalar) == result:
                return encoded
        except (TypeError, ValueError, NameError):
            pass
        logger.debug("a result cannot be kept for repeats", function=repr(self._function))
        return None


def begin_step(system: str, function: Callable[..., Any]) -> Step | None:
    """The step that running `function` is of the command that is being handled, where that has an id."""
    command = handled.get()
    if command is None:
        return None
    return Step(system, function, command.step(getattr(_bare(function), "__qualname__", "")))


def forget_steps(connection: Connection, before: float) -> None:
    """Forget what was done before that time."""
    connection.execute(delete(commands).where(commands.c.created < before))


def _bare(function: Callable[..., Any]) -> Callable[..., Any]:
    return _bare(function.func) if isinstance(function, partial) else function


def _result_type(function: Callable[..., Any]) -> Any:
    """What a function says that it returns. Raises TypeError or NameError where that cannot be told."""
    hints = get_type_hints(_bare(function))
    if "return" not in hints:
        raise TypeError(f"{function!r} does not say what it returns")
    return hints["return"]
