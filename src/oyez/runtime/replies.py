"""Replies: what one client receives as the answer to its own command or connection.

A success is acknowledged with `{ok: true, …}`, a failure with `{ok: false, error: {…}}`, or in the form that the
contract states. A client that asked for no acknowledgement receives the error in the event `error`. So a client
receives each failure once.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import msgspec

from oyez.concurrency.sparse_log import SparseLog
from oyez.contract.arguments import Arguments
from oyez.contract.codec import encode_json
from oyez.contract.command_codec import CommandCodec
from oyez.contract.contract import Contract
from oyez.contract.event_codec import EventCodec
from oyez.contract.replies import DEFAULT_SHAPE, Acknowledgements, Errors, build_payload, fill_shape, has_source
from oyez.contract.rooms import Caller
from oyez.contract.types import Payload, Time, read_scalar
from oyez.contract.validation import REQUIRED
from oyez.errors import (
    INTERNAL,
    INVALID_DATA,
    UNAVAILABLE,
    ContractError,
    InvalidDataError,
    OyezError,
    Refusal,
    RefusedError,
    UnavailableError,
)
from oyez.log.log import Entry
from oyez.logger import get_logger, log_failure
from oyez.protocol.binary import detach
from oyez.runtime.awaiting import NotAwaitedError
from oyez.runtime.old_forms import OldEventForms

logger = get_logger("oyez.runtime")

_sparse = SparseLog(logger, interval=10.0)
"""While the log or the database is down, every command fails."""

Reply = Any
"""What a handler returns: the reply that its command declares, as a payload, as fields by their wire names, or as a
value of another type; None if it declares none."""


class ReplyCodec:
    """Encodes the acknowledgements with which one command succeeds."""

    def __init__(
        self,
        command: str,
        reply: Any,
        form: Acknowledgements = Acknowledgements(),  # noqa: B008 - a frozen value
        arguments: Arguments = "object",
    ) -> None:
        """With positional `arguments`, the fields of the reply are arguments of the acknowledgement."""
        self._command = command
        self._is_payload = isinstance(reply, type) and issubclass(reply, Payload)
        # Another type is encoded as the only field of a payload, which is cut off.
        self._type: Any = reply if self._is_payload else build_payload("Reply", "reply", reply)
        name = f"the reply to {command}"
        self._codec = EventCodec[Any](name, self._type, arguments) if reply is not None else None
        self.binary = self._codec is not None and self._codec.binary
        """True if replies may have binary values: then each of them is marked in an acknowledgement, for `locate`."""
        # The statements of `_Frame.wrap` are in `encode`: a call costs more than they do.
        frame = _Frame(form, form.values[0], form.data, b"null,")
        self._head, self._tail, self._beside = frame.head, frame.tail, frame.beside
        self._nothing = b"[]" if form.empty else b"[null]" if form.node_style else frame.nothing

    def encode(self, reply: Reply) -> bytes:
        """The acknowledgement as a JSON array. Raises TypeError or ValueError if the reply is not the declared one."""
        if self._codec is None:
            if reply is not None:
                raise TypeError(f"{self._command} declares no reply, but its handler returned a {type(reply).__name__}")
            return self._nothing
        data = self._encode_reply(self._codec, reply)
        if self._beside:
            return self._nothing if data == b"{}" else self._head + data[1:] + self._tail
        if not data:
            # All fields of a positional reply were omitted.
            return self._head.removesuffix(b",") + self._tail
        return self._head + data + self._tail

    def _encode_reply(self, codec: EventCodec[Any], reply: Reply) -> bytes:
        try:
            if not self._is_payload:
                return self._encode_checked(codec, self._type(reply=reply))[_WRAPPING:-1]
            if not isinstance(reply, Payload):
                reply = msgspec.convert(reply, self._type, dec_hook=read_scalar, builtin_types=(bytes,))
            return self._encode_checked(codec, reply)
        except InvalidDataError as error:
            raise ValueError(f"the reply to {self._command} does not fit: {error}") from None

    def _encode_checked(self, codec: EventCodec[Any], reply: Payload) -> bytes:
        data = codec.encode_payload(reply)
        return codec.encode_marked(reply) if self.binary else data


_WRAPPING = len(b'{"reply":')


class _Frame:
    """What an acknowledgement has around a reply or an error."""

    def __init__(self, form: Acknowledgements, flag: Any, member: str | None, before: bytes) -> None:
        """`flag` is the flag's value, `member` holds the reply or the error. `before` is before it in node style."""
        flagged = encode_json({form.flag: flag})[1:-1] if form.flag is not None else b""
        self.nothing = b"[{" + flagged + b"}]"
        self.beside = False
        """True if the members of what is inside are beside the flag."""
        self.head, self.tail = b"[" + before, b"]"
        if not form.node_style and member is not None:
            comma = b"," if flagged else b""
            self.head, self.tail = b"[{" + flagged + comma + encode_json(member) + b":", b"}]"
        elif not form.node_style and flagged:
            self.head, self.beside = b"[{" + flagged + b",", True
        elif not form.node_style:
            self.head = b"["

    def wrap(self, data: bytes) -> bytes:
        """The acknowledgement with `data`, which is JSON, as a JSON array."""
        if not self.beside:
            return self.head + data + self.tail
        return self.nothing if data == b"{}" else self.head + data[1:] + self.tail


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command or a connection failed, in Oyez' own codes and words."""

    refusal: Refusal
    message: str
    details: Mapping[str, Any]


class FailureEncoder:
    """Encodes failures in the form that a contract, or one of its commands, gives to errors."""

    def __init__(
        self,
        errors: Errors = Errors(),  # noqa: B008 - a frozen value
        form: Acknowledgements = Acknowledgements(),  # noqa: B008 - a frozen value
    ) -> None:
        self._errors = errors
        self._parts = form.failure_parts(errors)
        self._shows_id = any(has_source(part, "id") for part in self._parts)
        self._constant = encode_json(get_args(form.failure)) if get_args(form.failure) else b""
        """The acknowledgement of each failure, if it is always the same."""
        bare = Acknowledgements(node_style=True) if form.failure is not None else form
        self._frame = _Frame(bare, form.values[1], form.error, b"")
        self._head = encode_json([errors.name])[:-1] + b","

    def encode_acknowledgement(self, failure: Failure, event: str, data: bytes) -> bytes:
        """The acknowledgement of a failure of the command `event`, as a JSON array; `data` is the array it came in."""
        if self._constant:
            return self._constant
        if self._parts[0] is DEFAULT_SHAPE:
            return self._frame.wrap(encode_json(self._fill_default(failure, failure.details)))
        values = self._list_values(failure, event, data if self._shows_id else b"")
        return self._frame.wrap(b",".join(encode_json(fill_shape(part, values)) for part in self._parts))

    def encode_event(self, failure: Failure, event: str = "", data: bytes = b"") -> bytes:
        """The event that reports a failure, as a JSON array; without `event`, of something else than a command."""
        if self._errors.shape is None:
            details = failure.details
            if event:
                # Without an acknowledgement, only this says to the client which of its commands has failed.
                id = find_id(data)
                details = {**details, "event": event, **({"id": id} if id else {})}
            return self._head + encode_json(self._fill_default(failure, details)) + b"]"
        return self._head + encode_json(fill_shape(self._errors.form, self._list_values(failure, event, data))) + b"]"

    def _fill_default(self, failure: Failure, details: Mapping[str, Any]) -> dict[str, Any]:
        """DEFAULT_SHAPE with its values: most contracts have it, and a client may be refused often."""
        code = failure.refusal.code
        message = self._errors.message(code, failure.message)
        return {"code": self._errors.code(code), "message": message, "details": details, "timestamp": Time.now()}

    def explain_connect(self, refused: RefusedError) -> dict[str, Any]:
        """The payload of the CONNECT_ERROR for `refused`, in plain JSON types."""
        code, shape = refused.refusal.code, self._errors.connect_shape
        details = _make_encodable({**refused.details, **refused.fields})
        data: Any = {"code": code, **details}
        if shape is not None:
            data = fill_shape(shape, self._list_values(Failure(refused.refusal, refused.message, details)))
            if isinstance(data, dict):
                data |= {name: details[name] for name in refused.fields}
        answer = {"message": self._errors.connect_message(code, refused.message), "data": data}
        plain: dict[str, Any] = msgspec.json.decode(encode_json(answer))
        return plain

    def _list_values(self, failure: Failure, event: str = "", data: bytes = b"") -> dict[str, Any]:
        """The value of each source of an error."""
        code, now = failure.refusal.code, time.time()
        values = {
            "code": self._errors.code(code),
            "message": self._errors.message(code, failure.message),
            "details": failure.details,
            "status": self._errors.status(failure.refusal),
            "timestamp": Time.at(now),
            "timestamp_ms": int(now * 1000),
        }
        if event:
            values["event"] = event
        if isinstance(wait := failure.details.get("retry_after"), int | float):
            values["retry_after_ms"] = round(wait * 1000)
        if id := find_id(data):
            values["id"] = id
        return values


def list_fields(given: Mapping[str, Any] | Payload) -> Mapping[str, Any]:
    """The members of an object as they are on the wire."""
    if not isinstance(given, Payload):
        return given
    fields: Mapping[str, Any] = msgspec.json.decode(encode_json(given))
    return fields


def find_id(data: bytes) -> str:
    """The idempotency key of the command in this event array; empty if there is none."""
    # The first check is cheap, and almost always the only one.
    return CommandCodec.split_id(data)[1] if b"idempotencyKey" in data else ""


class CallerEvents:
    """Encodes the events of one namespace that go to one client only (`client.emit`)."""

    def __init__(
        self,
        contract: Contract,
        namespace: str,
        clock: Callable[[], float] = time.time,
        old_forms: OldEventForms | None = None,
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._namespace = namespace
        self._clock = clock
        self._old_forms = old_forms
        self._events = {
            shape: (event, codec)
            for event in contract.events.values()
            if any(isinstance(target, Caller) for target in event.targets.get(namespace, ()))
            for codec in (event.make_codec(),)
            for shape in event.shapes
        }

    def encode(self, payload: Payload, age: int = 0) -> "CallerEvent | None":
        """The event in the form in which a socket sends it to a client whose version has this age.

        None if clients of that version do not receive it. Raises ContractError if the event does not list the
        namespace's `caller`, InvalidDataError if the payload does not fit its type.
        """
        found = self._events.get(type(payload))
        if found is None:
            raise ContractError(
                f"{type(payload).__name__} does not go to the client concerned; list `caller` in to=[…]"
            )
        event, codec = found
        try:
            stamped = event.stamp(payload, self._clock())
            data = codec.encode_event(stamped)
        except InvalidDataError as error:
            error.internal = True
            raise
        if not codec.binary and not age:
            return CallerEvent(data, event.volatile)
        data, binary = codec.wrap_binary(stamped) if codec.binary else (data, ())
        return self.encode_entry(
            Entry(
                namespace=self._namespace, rooms=(), data=data, volatile=event.volatile, name=event.name, binary=binary
            ),
            age,
        )

    def encode_entry(self, entry: Entry, age: int) -> "CallerEvent | None":
        """`encode` for an event as the log has it."""
        found = entry if self._old_forms is None or not age else self._old_forms.convert_for(entry, age)
        if found is None:
            return None
        data, attachments = detach(found.data, found.binary) if found.binary else (found.data, ())
        return CallerEvent(data, found.volatile, attachments)


class CallerEvent(NamedTuple):
    """An event for one client, as its socket sends it."""

    data: bytes
    """A JSON array, with a placeholder for each attachment."""
    volatile: bool
    attachments: tuple[bytes, ...] = ()


def explain_failure(error: Exception, describe: Callable[[], Mapping[str, str]]) -> Failure:
    """The failure that clients receive for `error`.

    An error that is not a refusal is logged with the fields that `describe` gives, and not sent: the client receives
    the id of the log line.
    """
    if isinstance(error, NotAwaitedError):
        # The forgotten call is already in the log, with its place.
        return _fail_internally(error.error_id)
    if isinstance(error, OyezError) and error.internal:
        return _log_internal(error, describe)
    if isinstance(error, RefusedError):
        return Failure(error.refusal, error.message, _make_encodable(error.details))
    if isinstance(error, InvalidDataError):
        return Failure(INVALID_DATA, _explain_data(error), {"field": error.field, "expected": error.expected})
    if isinstance(error, UnavailableError):
        _sparse.warning("commands are answered `unavailable`", reason=str(error), **describe())
        return Failure(UNAVAILABLE, UNAVAILABLE.message, {})
    return _log_internal(error, describe)


def _log_internal(error: Exception, describe: Callable[[], Mapping[str, str]]) -> Failure:
    return _fail_internally(log_failure(logger, "handler failed", error, **describe()))


def _fail_internally(error_id: str) -> Failure:
    # In the message too: some contracts' errors have no details.
    return Failure(INTERNAL, f"{INTERNAL.message} Error {error_id}.", {"error_id": error_id})


def _explain_data(error: InvalidDataError) -> str:
    """What is wrong with what a client has sent."""
    if error.field:
        return str(error)
    return (
        f"The data {REQUIRED}." if error.expected == REQUIRED else f"The data does not fit: expected {error.expected}."
    )


def _make_encodable(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """The details, as text if JSON cannot hold them."""
    try:
        encode_json(details)
    except (TypeError, ValueError):
        return {name: str(value) for name, value in details.items()}
    return details
