"""What a client is answered: `{ok: true, …}`, or the one error object that is the same in every system.

Where the client asked for an acknowledgement, the error is in it (`{ok: false, error: {…}}`) and nowhere else; where it
did not, the error is the event `error`. So a client hears of each failure once.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from oyez.concurrency.sparse_log import SparseLog
from oyez.contract.codec import EventCodec, encode_json
from oyez.contract.types import Payload, Problem, Time, read_scalar
from oyez.errors import (
    INTERNAL,
    INVALID_DATA,
    UNAVAILABLE,
    InvalidDataError,
    OyezError,
    RefusedError,
    UnavailableError,
)
from oyez.logger import get_logger
from oyez.runtime.awaiting import NotAwaitedError

logger = get_logger("oyez.contract")

_sparse = SparseLog(logger, interval=10.0)
"""While something is away, every command fails."""

Reply = Payload | Mapping[str, Any] | None
"""What a handler returns: the reply its command declares, as the payload or as its fields by their wire names."""

_OK = b'[{"ok":true}]'


class ReplyCodec:
    """Encodes the acknowledgements of one command."""

    def __init__(self, command: str, reply: type[Payload] | None) -> None:
        self._command = command
        self._reply = reply
        self._codec = EventCodec(f"the reply to {command}", reply) if reply is not None else None

    def encode(self, reply: Reply) -> bytes:
        """The acknowledgement's JSON array. Raises TypeError or ValueError where a handler breaks its contract."""
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


def explain_failure(error: Exception, **context: str) -> Problem:
    """The error object for `error`. An error that is not a refusal is logged with its `context`, and not shown."""
    if isinstance(error, NotAwaitedError):
        # The call has been logged, with its place.
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
