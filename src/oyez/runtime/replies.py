"""Replies: what one client receives as the answer to its own command or connection.

A success is acknowledged with `{ok: true, …}`. A failure has the same error object in every system: in the
acknowledgement (`{ok: false, error: {…}}`) if the client asked for one, otherwise in the event `error`. So a client
receives each failure once.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from oyez.concurrency.sparse_log import SparseLog
from oyez.contract.codec import EventCodec, encode_json
from oyez.contract.contract import Contract
from oyez.contract.rooms import Caller
from oyez.contract.types import Payload, Problem, Time, read_scalar
from oyez.errors import (
    INTERNAL,
    INVALID_DATA,
    UNAVAILABLE,
    ContractError,
    InvalidDataError,
    OyezError,
    RefusedError,
    UnavailableError,
)
from oyez.logger import get_logger
from oyez.runtime.awaiting import NotAwaitedError

logger = get_logger("oyez.runtime")

_sparse = SparseLog(logger, interval=10.0)
"""While the log or the database is down, every command fails."""

Reply = Payload | Mapping[str, Any] | None
"""What a handler returns: the reply that its command declares, as a payload or as fields by their wire names."""

_OK = b'[{"ok":true}]'


class ReplyCodec:
    """Encodes the acknowledgements of one command."""

    def __init__(self, command: str, reply: type[Payload] | None) -> None:
        self._command = command
        self._reply = reply
        self._codec = EventCodec(f"the reply to {command}", reply) if reply is not None else None

    def encode(self, reply: Reply) -> bytes:
        """The acknowledgement as a JSON array. Raises TypeError or ValueError if the reply is not the declared one."""
        if self._codec is None or self._reply is None:
            if reply is not None:
                raise TypeError(f"{self._command} declares no reply, but its handler returned a {type(reply).__name__}")
            return _OK
        if not isinstance(reply, Payload):
            reply = msgspec.convert(reply, self._reply, dec_hook=read_scalar)
        try:
            data = self._codec.encode_payload(reply)
        except InvalidDataError as error:
            raise ValueError(f"the reply to {self._command} does not fit: {error}") from None
        return _OK if data == b"{}" else b'[{"ok":true,' + data[1:] + b"]"


class CallerEvents:
    """Encodes the events of one namespace that go to one client only (`client.emit`)."""

    def __init__(self, contract: Contract, namespace: str, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._clock = clock
        self._events = {
            event.payload: (event, EventCodec(event.name, event.payload))
            for event in contract.events.values()
            if any(isinstance(target, Caller) for target in event.targets.get(namespace, ()))
        }

    def encode(self, payload: Payload) -> tuple[bytes, bool]:
        """The event as a JSON array, and whether it is volatile.

        Raises ContractError if the event does not list the namespace's `caller`, InvalidDataError if the payload does
        not fit its type.
        """
        found = self._events.get(type(payload))
        if found is None:
            raise ContractError(
                f"{type(payload).__name__} does not go to the client concerned; list `caller` in to=[…]"
            )
        event, codec = found
        try:
            return codec.encode_event(event.stamp(payload, self._clock())), event.volatile
        except InvalidDataError as error:
            error.internal = True
            raise


def explain_failure(error: Exception, **context: str) -> Problem:
    """The error object for `error`. An error that is not a refusal is logged with `context`, and not sent."""
    if isinstance(error, NotAwaitedError):
        # The forgotten call is already in the log, with its place.
        return _problem(INTERNAL.code, INTERNAL.message, {})
    if isinstance(error, OyezError) and error.internal:
        logger.error("handler failed", exc_info=error, **context)
        return _problem(INTERNAL.code, INTERNAL.message, {})
    if isinstance(error, RefusedError):
        return _problem(error.refusal.code, error.message, error.details)
    if isinstance(error, InvalidDataError):
        return _problem(INVALID_DATA.code, str(error), {"field": error.field, "expected": error.expected})
    if isinstance(error, UnavailableError):
        _sparse.warning("commands are answered `unavailable`", reason=str(error), **context)
        return _problem(UNAVAILABLE.code, UNAVAILABLE.message, {})
    logger.error("handler failed", exc_info=error, **context)
    return _problem(INTERNAL.code, INTERNAL.message, {})


def encode_failure(problem: Problem) -> bytes:
    """The acknowledgement of a failure, as a JSON array."""
    return b'[{"ok":false,"error":' + encode_json(problem) + b"}]"


def encode_error_event(problem: Problem) -> bytes:
    """The event `error`, as a JSON array."""
    return b'["error",' + encode_json(problem) + b"]"


def _problem(code: str, message: str, details: Mapping[str, Any]) -> Problem:
    try:
        encode_json(details)
    except (TypeError, ValueError):
        details = {name: str(value) for name, value in details.items()}
    return Problem(code=code, message=message, details=dict(details), timestamp=Time.now())
