"""The transactions that a command with an id has committed: each is done once, also if the server is killed.

The log's records have the answers of commands (`runtime/idempotency.py`), but a server may be killed between a commit
and its answer. So each transaction of such a command also stores a row with its result. When the command is repeated,
its handler runs again, and each transaction returns the stored result.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints

import msgspec
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from oyez.contract.codec import encode_json
from oyez.contract.types import read_scalar
from oyez.errors import ALREADY_DONE, ID_REUSED, IN_PROGRESS, RefusedError
from oyez.log.record_codec import decode_record, encode_record
from oyez.logger import get_logger
from oyez.runtime.idempotency import IdempotentCommand, current_command
from oyez.service.database.tables import commands

logger = get_logger("oyez.service")

KEPT_SECONDS = 86_400.0
"""Seconds for which a step is remembered: a client that was offline repeats a command within a day, or not at all."""
FORGET_INTERVAL = 600.0
"""Seconds between two deletions of old steps."""


class Step:
    """One transaction of a command that has an id. Its result is stored as JSON, by the function's annotated types."""

    def __init__(self, system: str, function: Callable[..., Any], command: IdempotentCommand) -> None:
        self._system = system
        self._function = function
        self._name = _hash(command.step(getattr(_bare(function), "__qualname__", "")))
        self._id = _hash(command.id) if command.id else ""
        self._digest = command.digest
        self._is_bound = False

    def find(self, connection: Connection) -> tuple[Any] | None:
        """The stored result of the step; None if the step was not done.

        Raises RefusedError: already_done if the result could not be stored, or if what was stored cannot be read;
        id_reused if the id is bound to another request.
        """
        try:
            if self._id:
                digests = self._select(connection, self._id)
                if digests and digests[0] != self._digest:
                    raise RefusedError(ID_REUSED)
                self._is_bound = bool(digests)
            results = self._select(connection, self._name)
            if not results:
                return None
            if results[0] is None:
                raise RefusedError(ALREADY_DONE)
            return (msgspec.json.decode(results[0], type=_result_type(self._function), dec_hook=read_scalar),)
        except (msgspec.MsgspecError, ValueError) as error:
            logger.error("the result of a command cannot be read", system=self._system, reason=str(error))
            raise RefusedError(ALREADY_DONE) from None

    def keep(self, connection: Connection, result: object, now: float) -> None:
        """Store, in the same transaction, that the step is done, and what it returned.

        Raises RefusedError (in_progress) if another process has committed the same step in the meantime.
        """
        kept = {self._name: self._encode(result)}
        if self._id and not self._is_bound:
            kept[self._id] = self._digest
        rows = [
            {"system": self._system, "step": name, "result": data and encode_record(data), "created": now}
            for name, data in kept.items()
        ]
        try:
            connection.execute(insert(commands), rows)
        except IntegrityError:
            raise RefusedError(IN_PROGRESS) from None

    def _select(self, connection: Connection, name: str) -> list[bytes | None]:
        """Raises ValueError if the stored bytes have changed."""
        kept = select(commands.c.result).where(commands.c.system == self._system, commands.c.step == name)
        return [data if data is None else decode_record(data) for data in connection.execute(kept).scalars()]

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
    """The step that `function` is of the current command; None if the command has no id."""
    command = current_command.get()
    if command is None:
        return None
    return Step(system, function, command)


def forget_steps(connection: Connection, before: float) -> None:
    """Delete the steps that were done before this time."""
    connection.execute(delete(commands).where(commands.c.created < before))


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _bare(function: Callable[..., Any]) -> Callable[..., Any]:
    return _bare(function.func) if isinstance(function, partial) else function


def _result_type(function: Callable[..., Any]) -> Any:
    """The annotated return type of a function. Raises TypeError or NameError if there is none."""
    hints = get_type_hints(_bare(function))
    if "return" not in hints:
        raise TypeError(f"{function!r} does not say what it returns")
    return hints["return"]
